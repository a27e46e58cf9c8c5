#!/bin/sh
# Training on a lent machine whose calls are short: the run is a session of its own, and every call
# waits a while and brings the weights home, in pieces that are small enough to travel.
#
#   OUT=DIR sh training/session.sh start DATA ARGUMENTS...   from worker/; DATA holds media, photos, held
#   OUT=DIR sh training/session.sh wait SECONDS               until it is done, at most so long
set -eu
run=/tmp/training
case $1 in
start)
    data=$(cd "$2" && pwd)
    shift 2
    mkdir -p $run
    setsid nohup python3 -u -m training.train --media "$data/media" --photos "$data/photos" \
        --held "$data/held" --out $run "$@" >$run/log 2>&1 </dev/null &
    ;;
wait)
    end=$(($(date +%s) + $2))
    while [ "$(date +%s)" -lt "$end" ] && ! tail -n 1 $run/log | grep -Eq 'done|Error'; do sleep 1; done
    tail -n 40 $run/log
    cp $run/log "$OUT/log"
    find $run -name '*.jpg' -size -15M -exec cp {} "$OUT/" \; -quit
    [ -f $run/pocket.safetensors ] && split -b 15000000 $run/pocket.safetensors "$OUT/pocket.part."
    ;;
esac
