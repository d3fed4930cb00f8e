#!/bin/sh
# Keeps what comes on standard input as the record, whole or not at all. Where nothing comes, there is no record.
mkdir -p @FOLDER@ && cat > @RECORD@.new && sync @RECORD@.new || exit 1
if [ -s @RECORD@.new ]; then mv @RECORD@.new @RECORD@; else rm -f @RECORD@.new @RECORD@; fi
sync @FOLDER@
