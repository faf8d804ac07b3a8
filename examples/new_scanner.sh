#!/bin/sh
# A model of scanner A meets scanner C, of which there are no labels; the images of A are not there.
#
# examples/new_scanner.sh runs/A /dev/video0 work runs/live [OPTIONS OF metfa-train]
#
# runs/live is the bundle of a service, which goes on: metfa-stream --bundle runs/live --device /dev/video0 --watch
set -eu
bundle=$1 device=$2 work=$3 live=$4
shift 4

# 1. The stream says that it does not know the scanner, and saves frames that would help.
metfa-stream --bundle "$bundle" --device "$device" --seconds 120 --no-window \
    --collect "$work/frames" --collect-limit 200

# 2. A person gives five frames of each class a label, in the browser, and ends the page with Ctrl-C.
trap : INT  # which ends the page, and not this script
metfa-label "$work/frames" --bundle "$bundle" --serve "${SERVE:-127.0.0.1:8081}"
trap - INT

# 3. The model is adapted to these frames, without an image of A, and exported with proof of parity.
metfa-train --from "$bundle" --target "$work/frames" --labelled-target "$work/frames-labels.csv" \
    --bundle "$work/bundle" "$@"
metfa-export "$work/bundle" --fp16

# 4. The service takes the new model between two frames. The former stays at hand.
cp -R "$work/bundle" "$live.new"
rm -rf "$live.old"
mv "$live" "$live.old"
mv "$live.new" "$live"
