"""The peer of the training benchmark: ResNet-20 (6n+2, parameter-free shortcuts) on Fashion-MNIST in python3-torch,
tuned: channels_last, tensors prepared once, augmentation by whole batches, in-place ReLU, foreach optimizer.

Prints one JSON object: images/s of the loop and of the step alone. Runs under Debian's own interpreter.
"""
import argparse
import gzip
import json
import os
import time

import numpy
import torch
import torch.nn as nn
import torch.nn.functional as F


class Block(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.stride, self.pad = stride, (outputs - inputs) // 2
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = self.bn2(self.conv2(y))
        if self.stride != 1:
            x = F.pad(x[:, :, ::self.stride, ::self.stride], (0, 0, 0, 0, self.pad, self.pad))
        return F.relu(y.add_(x), inplace=True)


class ResNet20(nn.Module):
    def __init__(self, classes=10, channels=1):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        layers, width = [], 16
        for outputs, stride in ((16, 1), (32, 2), (64, 2)):
            for i in range(3):
                layers.append(Block(width, outputs, stride if i == 0 else 1))
                width = outputs
        self.layers = nn.Sequential(*layers)
        self.fc = nn.Linear(64, classes)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)
        return self.fc(F.adaptive_avg_pool2d(self.layers(x), 1).flatten(1))


def read(folder, limit):
    with gzip.open(os.path.join(folder, "train-images-idx3-ubyte.gz")) as f:
        images = numpy.frombuffer(f.read(), numpy.uint8, offset=16).reshape(-1, 1, 28, 28)[:limit]
    with gzip.open(os.path.join(folder, "train-labels-idx1-ubyte.gz")) as f:
        labels = numpy.frombuffer(f.read(), numpy.uint8, offset=8)[:limit]
    x = (torch.from_numpy(images.copy()).float() / 255 - 0.286) / 0.353
    return x, torch.from_numpy(labels.copy()).long()


def augment(x):
    n = x.shape[0]
    padded = F.pad(x, (2, 2, 2, 2), value=-0.286 / 0.353)
    out = torch.empty_like(x)
    shifts = torch.randint(0, 5, (n, 2)).tolist()
    for i, (dy, dx) in enumerate(shifts):
        out[i] = padded[i, :, dy:dy + 28, dx:dx + 28]
    flip = torch.rand(n) < 0.5
    out[flip] = out[flip].flip(3)
    return out


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", required=True)
    parser.add_argument("--images", type=int, default=6400)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--bf16", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    x, y = read(args.data, args.images)
    model = ResNet20().to(memory_format=torch.channels_last)
    average = [p.detach().clone() for p in model.parameters()]
    optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9, nesterov=True, weight_decay=5e-4, foreach=True)
    batch = 128

    def step(images, labels):
        images = images.contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=args.bf16):
            loss = F.cross_entropy(model(images).float(), labels, label_smoothing=0.05)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return loss.item()

    model.train()
    for i in range(3):  # warm up
        step(x[:batch], y[:batch])
    start = time.perf_counter()
    order = torch.randperm(len(x))
    seen = 0
    for i in range(0, len(x), batch):
        index = order[i:i + batch]
        step(augment(x[index]), y[index])
        with torch.no_grad():
            torch._foreach_mul_(average, 0.995)
            torch._foreach_add_(average, list(model.parameters()), alpha=0.005)
        seen += len(index)
    loop = seen / (time.perf_counter() - start)
    images = x[:batch].contiguous(memory_format=torch.channels_last)
    start = time.perf_counter()
    steps = max(1, len(x) // batch)
    for i in range(steps):
        step(images, y[:batch])
    print(json.dumps({"loop": loop, "step": steps * batch / (time.perf_counter() - start), "version": torch.__version__,
                      "cpu": time.process_time()}))


if __name__ == "__main__":
    main()
