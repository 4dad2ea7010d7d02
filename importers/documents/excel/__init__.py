"""Excel workbooks, read in constant memory: an archive of XML, whose cells say more than a text."""
