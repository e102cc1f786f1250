#!/bin/bash
# Cancels all jobs of $name. What is finished stays; submit.sh goes on.
cd $folder && xargs --no-run-if-empty scancel <jobs
