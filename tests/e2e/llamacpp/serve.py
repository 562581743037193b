"""llama.cpp's own HTTP server on a loopback port: `python serve.py MODEL.gguf PORT KEY`. Ends when its input does."""

import sys

import xllamacpp

model, port, key = sys.argv[1:4]
settings = xllamacpp.CommonParams()
settings.model.path = model
settings.model_alias = ["tiny"]
settings.hostnames = ["127.0.0.1"]
settings.port = int(port)
settings.api_keys = [key]
settings.n_ctx, settings.n_parallel, settings.n_gpu_layers = 8192, 4, 0
settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = 1
settings.n_threads_http = 32  # each connection keeps one
settings.use_jinja = settings.endpoint_metrics = settings.warmup = settings.offline = True
server = xllamacpp.Server(settings)
print("listening", flush=True)
sys.stdin.read()
