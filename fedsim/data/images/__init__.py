"""Images: files and folders of them, their sizes, their pixels."""
