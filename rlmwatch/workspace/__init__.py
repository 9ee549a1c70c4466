"""Every read and write of the person's folder."""
