"""The commands of docs/kubernetes.md, run with each Helm."""
