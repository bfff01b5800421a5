"""Videos: one lazy type for files, folders of pictures and arrays, and its readers."""

from revseg.video.folder import FolderReader, picture_files, read_picture, same_name
from revseg.video.video import FOLDER_FPS, Video

__all__ = ["FOLDER_FPS", "FolderReader", "Video", "picture_files", "read_picture", "same_name"]
