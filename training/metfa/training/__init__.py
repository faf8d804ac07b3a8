"""On a workstation: labelled frames of a source device and unlabelled frames of a target device → an adapted bundle."""
