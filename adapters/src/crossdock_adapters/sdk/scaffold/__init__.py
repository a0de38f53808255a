"""`crossdock adapter new`: an adapter of one's own, as a small distribution that conforms.

    creating    the name, the folder, the files
    templates   every/ for all kinds, one folder for each kind; `package` becomes the package

A template is the file as it will be, with `$name` (pigeon-post), `$package`
(crossdock_adapter_pigeon_post) and `$title` (Pigeon Post) in it. What its reader has to replace is
marked `REPLACE` and a word, and README.md of the new folder has a row for each such word.
"""
