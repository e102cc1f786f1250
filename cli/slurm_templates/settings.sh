# Settings of all jobs of $name; edit, then submit again.
export DISTILLERY_API_KEY_FILE=$folder/key DISTILLERY_GATEWAY_API_KEY_FILE=$folder/key
export DISTILLERY_GATEWAY_DATA=$data DISTILLERY_LABELLER_DATA=$data
export DISTILLERY_LABELLER_TEACHER=$teacher
export DISTILLERY_SERVICE_INPUTS=$inputs
export DISTILLERY_GATEWAY_LOOK_UP=false         # replicas announce themselves
export DISTILLERY_GATEWAY_BUSY_SECONDS=1209600  # how long one is waited for that Slurm has not started yet, s
export DISTILLERY_SERVICE_WORKERS=$${SLURM_CPUS_PER_TASK:-1}
export OMP_NUM_THREADS=$${SLURM_CPUS_PER_TASK:-1} PYTHONUNBUFFERED=1
