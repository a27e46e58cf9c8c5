#!/bin/bash
# Every fuzz target with some processes (3), on a machine with many cores:
# tests/fuzz/visit.sh SECONDS OUT [PROCESSES]
set -u
seconds=$1 out=$2 copies=$(seq "${3:-3}") logs=$(mktemp -d)
names="wire_header control_message preset configuration h264"
python3 -c "import cv2" 2> /dev/null && names="$names picture"
for name in $names; do
    for copy in $copies; do
        python3 -m tests.fuzz "$name" --seconds "$seconds" > "$logs/$name-$copy.log" 2>&1 &
    done
done
wait
for name in $names; do
    python3 -m tests.fuzz "$name" --seconds 0 --keep > "$logs/$name-keep.log" 2>&1
    grep -h "^Done\|Uncaught\|Error" "$logs/$name"-?.log | sed "s/^/$name: /"
done
tar -C tests/fuzz -czf "$out/corpus.tar.gz" corpus
(cd tests/fuzz && tar -czf "$out/found.tar.gz" found-* 2> /dev/null)
exit 0
