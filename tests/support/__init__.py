"""What tests share: commands in processes of their own, small published data sets, readers of a run."""
