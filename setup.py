"""A wheel brings params, notebooks and the workflow of a study along, so that it works outside the repository."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

HOME = ("params", "notebooks", "workflow", "constraints.txt")  # studylib/paths.py finds them in studylib/home


class WithHome(build_py):
    def run(self):
        super().run()
        if not self.editable_mode:  # an editable install is used where it lies
            home = Path(self.build_lib, "studylib", "home")
            home.mkdir(parents=True, exist_ok=True)
            for name in HOME:
                if Path(name).is_file():
                    shutil.copy(name, home)
                else:
                    hidden = shutil.ignore_patterns(".*", "__pycache__")
                    shutil.copytree(name, home / name, ignore=hidden, dirs_exist_ok=True)


setup(cmdclass={"build_py": WithHome})
