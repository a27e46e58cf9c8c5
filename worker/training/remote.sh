#!/usr/bin/env bash
# Trainings on a lent GPU machine whose calls are short: each runs in a session of its own, and goes
# on between calls for as long as the machine is held.  From the repository's root there:
#   remote.sh start NAME GPU MINUTES [options of training.train]   MEDIA, PHOTOS, HELD: folders
#   remote.sh fetch             weights, logs and sheets so far to $OUT
#   remote.sh wait SECONDS      the same, when all have ended or the time is over
set -u
here=$(cd "$(dirname "$0")/../.." && pwd)
case $1 in
start)
    name=$2 gpu=$3 minutes=$4
    shift 4
    mkdir -p "/tmp/training/$name" # a copy: the next call replaces the tree
    cp -r "$here/worker" "$here/plugin" "$MEDIA" "$PHOTOS" "$HELD" "/tmp/training/$name"
    cd "/tmp/training/$name/worker" || exit 1
    export PYTHONPATH=.:../plugin:${PYTHONPATH:-} PYTHONUNBUFFERED=1 OMP_NUM_THREADS=8
    export CUDA_VISIBLE_DEVICES=$gpu
    setsid nohup python3 -u -m training.train --minutes "$minutes" --out "/tmp/training/$name/out" \
        --media "../$(basename "$MEDIA")" --photos "../$(basename "$PHOTOS")" \
        --held "../$(basename "$HELD")" "$@" >"/tmp/training/$name/log" 2>&1 </dev/null &
    echo $! >"/tmp/training/$name/pid"
    ;;
fetch)
    for run in /tmp/training/*/; do
        name=$(basename "$run")
        cp "$run/out/pocket.safetensors" "$OUT/$name.safetensors"
        cp "$run/out/sheet.jpg" "$OUT/$name.jpg"
        cp "$run/log" "$OUT/$name.txt"
        tail -n 20 "$run/log"
    done
    ;;
wait)
    end=$(($(date +%s) + $2))
    for pid in $(cat /tmp/training/*/pid); do
        while kill -0 "$pid" 2>/dev/null && [ "$(date +%s)" -lt $end ]; do sleep 2; done
    done
    "$0" fetch
    ;;
esac
