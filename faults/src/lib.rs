//! Real processes under faults, judged by a checker that reads only logs and the last dump.
