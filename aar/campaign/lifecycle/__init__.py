"""Creates, starts, resumes and ends campaigns."""
