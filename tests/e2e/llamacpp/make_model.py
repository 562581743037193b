"""Writes a tiny model for llama.cpp: `python make_model.py OUT.gguf`. Needs gguf and numpy; downloads nothing.

Qwen3's architecture with random weights, a token for each byte, and a chat template with tools. What it says is noise;
how the server streams, constrains, counts and refuses is real. One constant channel carries a bias to each token, so
that answers are mostly lower-case text, end by themselves after some forty tokens, and close JSON strings soon.
"""

import sys

import gguf
import numpy as np

WIDTH, LAYERS, HEADS, KV_HEADS, HEAD_SIZE, INNER = 64, 2, 4, 2, 32, 128
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
PLAIN = ("<tool_call>", "</tool_call>")
LIKELY = {"": 2.0, " ": 3.0, '"': 3.0, "}": 2.5, "]": 2.5}  # beside the letters, at 1 each; "" ends the answer

TEMPLATE = """\
{%- if tools %}{{- '<|im_start|>system\\n# Tools\\n<tools>' }}
{%- for tool in tools %}{{- '\\n' + (tool | tojson) }}{%- endfor %}
{{- '\\n</tools>\\nFor each call return JSON within <tool_call></tool_call>:\\n<tool_call>\\n' }}
{{- '{"name": <function-name>, "arguments": <args-json-object>}\\n</tool_call><|im_end|>\\n' }}{%- endif %}
{%- for message in messages %}
{%- if message.role == 'assistant' %}{{- '<|im_start|>assistant\\n' + (message.content or '') }}
{%- for call in message.tool_calls or [] %}
{{- '\\n<tool_call>\\n{"name": "' + call.function.name + '", "arguments": ' }}
{{- call.function.arguments if call.function.arguments is string else call.function.arguments | tojson }}
{{- '}\\n</tool_call>' }}{%- endfor %}{{- '<|im_end|>\\n' }}
{%- elif message.role == 'tool' %}
{{- '<|im_start|>user\\n<tool_response>\\n' + message.content + '\\n</tool_response><|im_end|>\\n' }}
{%- else %}{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"""


def main(path: str) -> None:
    """Write the whole file."""
    tokens = [*byte_tokens(), "th", *SPECIAL, *PLAIN]
    writer = gguf.GGUFWriter(path, "qwen3")
    describe(writer, tokens)
    for name, tensor in weights(tokens).items():
        writer.add_tensor(name + ".weight", tensor.astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def byte_tokens() -> list[str]:
    """A printable character for each byte, as byte-level tokenizers write them."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    spare = iter(range(256, 512))
    return [chr(byte if byte in shown else next(spare)) for byte in range(256)]


def describe(writer: gguf.GGUFWriter, tokens: list[str]) -> None:
    """The header: sizes, tokenizer and template."""
    writer.add_name("tiny")
    writer.add_context_length(8192)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_key_length(HEAD_SIZE)
    writer.add_value_length(HEAD_SIZE)
    writer.add_rope_freq_base(10_000.0)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_vocab_size(len(tokens))
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    kinds = {**dict.fromkeys(SPECIAL, gguf.TokenType.CONTROL), **dict.fromkeys(PLAIN, gguf.TokenType.USER_DEFINED)}
    writer.add_token_types([kinds.get(token, gguf.TokenType.NORMAL) for token in tokens])
    writer.add_token_merges(["t h"])  # the loader demands one
    writer.add_eos_token_id(tokens.index("<|im_end|>"))
    writer.add_pad_token_id(tokens.index("<|endoftext|>"))
    writer.add_add_bos_token(False)
    writer.add_chat_template(TEMPLATE)


def weights(tokens: list[str]) -> dict[str, np.ndarray]:
    """Random tensors from a fixed seed, and the tokens' bias in channel 0."""
    dice = np.random.default_rng(0)

    def noise(*shape: int) -> np.ndarray:
        return dice.standard_normal(shape) * 0.02

    embedding, output = noise(len(tokens), WIDTH), noise(len(tokens), WIDTH) * 15
    embedding[:, 0] = 8.0  # after the last normalisation this channel is about sqrt(WIDTH), whatever came
    output[:, 0] = bias(tokens) / np.sqrt(WIDTH)
    found = {"token_embd": embedding, "output": output, "output_norm": np.ones(WIDTH)}
    for layer in range(LAYERS):
        found |= {f"blk.{layer}.{name}": tensor for name, tensor in {
            "attn_q": noise(HEADS * HEAD_SIZE, WIDTH), "attn_k": noise(KV_HEADS * HEAD_SIZE, WIDTH),
            "attn_v": noise(KV_HEADS * HEAD_SIZE, WIDTH), "attn_output": noise(WIDTH, HEADS * HEAD_SIZE),
            "attn_q_norm": np.ones(HEAD_SIZE), "attn_k_norm": np.ones(HEAD_SIZE), "attn_norm": np.ones(WIDTH),
            "ffn_norm": np.ones(WIDTH), "ffn_gate": noise(INNER, WIDTH), "ffn_up": noise(INNER, WIDTH),
            "ffn_down": noise(WIDTH, INNER),
        }.items()}
    return found


def bias(tokens: list[str]) -> np.ndarray:
    """The log of how likely each token is."""
    likely = np.full(len(tokens), 1e-9)
    for byte in range(ord("a"), ord("z") + 1):
        likely[byte] = 1.0
    for text, weight in LIKELY.items():
        likely[ord(text) if text else tokens.index("<|im_end|>")] = weight
    return np.log(likely / likely.sum())


if __name__ == "__main__":
    main(sys.argv[1])
