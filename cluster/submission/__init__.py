"""Jobs on a cluster, over Ray's Jobs API: what `bottega submit` and its neighbours do."""
