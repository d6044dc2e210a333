"""fedsim beside other frameworks: the same work, each as its users start it, in processes of its own."""
