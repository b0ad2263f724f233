module zen-lead/cluster/app

go 1.26.0
