"""Does diversity help a language model to reason morally when it is trained with verifiable rewards?"""

import logging
import warnings

from studylib.processes import take_own_gpu

__version__ = "0.1.0"

take_own_gpu()  # of several processes: before anything looks for GPUs

# Notices of libraries that would stand in every executed notebook and ask nothing of its reader.
warnings.filterwarnings("ignore", message="IProgress not found")  # tqdm: text instead of a widget is what we want
warnings.filterwarnings("ignore", message=".*gradient_checkpointing.* is deprecated", category=FutureWarning)  # in TRL
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)  # optional kernels from the hub: not used
