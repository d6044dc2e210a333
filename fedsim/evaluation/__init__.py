"""Quality of the global model on test data, with the work distributed over the ranks."""
