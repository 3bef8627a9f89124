"""What a job is, and every decision about it. Pure: values in, values out; time is an argument."""
