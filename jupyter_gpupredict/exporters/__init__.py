"""From a prediction to a function that deploys: workloads x sharing backends."""
