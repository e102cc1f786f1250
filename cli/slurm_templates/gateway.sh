#!/bin/bash
#SBATCH --job-name=$name-gateway
#SBATCH --output="$log/gateway-%j.log" --open-mode=append
#SBATCH --ntasks=1
$head
#SBATCH --signal=B:USR1@120        # before the time is over: begin again, with the same number
#SBATCH --requeue                  # after a node that failed, or a preemption
#SBATCH --dependency=singleton     # one gateway at a time
cd $folder && source settings.sh
DISTILLERY=($distillery)

leave() { kill -TERM "$$run" "$$gateway" 2>/dev/null; }
trap 'again=yes; leave' USR1
trap 'leave' TERM

rm -f address
"$${DISTILLERY[@]}" serve gateway --host 0.0.0.0 --port 0 --address-file address --stop-seconds 5 &
gateway=$$!
until [ -s address ]; do kill -0 "$$gateway" || exit 1; sleep 1; done
"$${DISTILLERY[@]}" run $recipe --unchecked --gateway address &
run=$$!
wait "$$run"; result=$$?
while kill -0 "$$run" 2>/dev/null; do wait "$$run"; result=$$?; done    # a signal ends a wait, not what is waited for
kill -TERM "$$gateway" 2>/dev/null
wait
if [ "$${again:-}" = yes ]; then
    scontrol requeue "$$SLURM_JOB_ID"
elif [ "$$result" = 0 ] || [ "$$result" = 3 ]; then    # GO, NO-GO: nothing is left to do for the others
    grep -v "^$$SLURM_JOB_ID$$" jobs | xargs --no-run-if-empty scancel
fi
exit "$$result"
