"""What may be asked of GitHub, decided from values alone.

```
names    owners, repositories, refs, paths …: strings of callers become names, or are refused
access   the operator's lists: which repositories and toolsets, for reading and for writing
```
"""
