#!/bin/sh
# Ends when @INTERFACE@ has an address. Units that bind to it start after this.
until ip -4 -o address show dev @INTERFACE@ 2>/dev/null | grep -q inet; do sleep 0.1; done
