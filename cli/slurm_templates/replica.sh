#!/bin/bash
#SBATCH --job-name=$name-$replica
#SBATCH --output="$log/$replica-%A_%a.log" --open-mode=append
#SBATCH --ntasks=1
$head
#SBATCH --signal=B:USR1@120        # before the time is over: leave, finish what is in work, begin again
#SBATCH --requeue                  # after a node that failed, or a preemption
cd $folder && source settings.sh
DISTILLERY=($distillery)

"$${DISTILLERY[@]}" serve $replica --host 0.0.0.0 --port 0 --gateway $folder/address --stop-seconds 100 &
replica=$$!
trap 'again=yes; kill -TERM "$$replica"' USR1
trap 'kill -TERM "$$replica"' TERM
wait "$$replica"; result=$$?
while kill -0 "$$replica" 2>/dev/null; do wait "$$replica"; result=$$?; done    # a signal ends a wait, not what is waited for
if [ "$${again:-}" = yes ]; then
    scontrol requeue "$${SLURM_ARRAY_JOB_ID}_$${SLURM_ARRAY_TASK_ID}"
fi
exit "$$result"
