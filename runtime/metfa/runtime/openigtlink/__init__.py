"""OpenIGTLink, the protocol of image-guided therapy: what the source and the sink share.

``messages.py`` packs and unpacks messages, ``images.py`` those with pixels, ``checksum.py`` is their CRC,
``channel.py`` sends and receives them within limits, ``peers.py`` finds who takes them, ``address.py`` names a peer.
The protocol is that of https://github.com/openigtlink/OpenIGTLink/tree/master/Documents/Protocol.
"""
