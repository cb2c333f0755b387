"""Many traces through the rules, scored against what the runs then did."""
