#!/bin/bash
# Submits the jobs of $name; again to go on with it, or to add more of them to those that run. Options of sbatch go with it.
set -euo pipefail
cd $folder
submit() { sbatch --parsable "$$@" | cut -d ';' -f 1 | tee -a jobs; }
submit "$$@" gateway.sh
$replicas
