"""Videos: one lazy type over files, folders of pictures and arrays, and the readers behind it."""

from revseg.video.video import FOLDER_FPS, FolderReader, Video, picture_files, read_picture, same_name

__all__ = ["FOLDER_FPS", "FolderReader", "Video", "picture_files", "read_picture", "same_name"]
