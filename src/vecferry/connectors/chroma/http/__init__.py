"""`chroma+http://`, `chroma+https://`, `chroma+cloud://`: Chroma servers of both API generations, and Chroma Cloud."""
