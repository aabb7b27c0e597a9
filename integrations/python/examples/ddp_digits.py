"""Handwritten digits by several processes, each with its share of every batch: `torchrun --nproc-per-node 2 ddp_digits.py`.

The layers are elbow's, the gradients are averaged by PyTorch's DistributedDataParallel over gloo. Every batch has the same rows whatever the number
of processes, so that the losses are those of one process up to the rounding of sums.
"""

import argparse
import gzip
import json
import os
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from elbow.torch import FusedLinear, PReLULinear

def train(images, labels, options, rank, processes):
    """The loss of every step, over all processes, and the network."""
    torch.manual_seed(0)  # the same weights everywhere
    network = nn.Sequential(
        FusedLinear(64, 96, activation="gelu"), PReLULinear(96, 48, num_parameters=48), nn.Linear(48, 10)
    )
    model = DistributedDataParallel(network) if processes > 1 else network
    optimiser = torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.9)
    losses = []
    for epoch in range(options.epochs):
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(epoch))
        for step in range(len(images) // options.batch):
            rows = order[step * options.batch :][: options.batch]
            mine = rows.chunk(processes)[rank]
            loss = nn.functional.cross_entropy(model(images[mine]), labels[mine])
            optimiser.zero_grad()
            loss.backward()  # while it goes on, the gradients of layers that are done are summed over the processes
            optimiser.step()
            of_all = loss.detach().clone()
            if processes > 1:
                dist.all_reduce(of_all)
            losses.append(float(of_all) / processes)
        if rank == 0:
            print(f"epoch {epoch}: loss {losses[-1]:.5f}")
    return losses, network


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batch", type=int, default=96, help="rows of a batch, all processes together")
    parser.add_argument("--out", type=Path, help="writes the loss of each step as JSON")
    options = parser.parse_args()
    processes = int(os.environ.get("WORLD_SIZE", 1))
    if options.batch % processes:
        parser.error(f"--batch: expected a multiple of {processes} processes, got {options.batch}")
    if processes > 1:
        dist.init_process_group("gloo")
    rank = dist.get_rank() if processes > 1 else 0

    lines = gzip.open(Path(__file__).parents[3] / "examples/data/digits.csv.gz", "rt")
    digits = torch.from_numpy(np.loadtxt(lines, delimiter=",", dtype=np.float32))
    images, labels = digits[:, :64] / 16, digits[:, 64].long()
    held_back = torch.arange(len(images)) % 5 == 0
    losses, network = train(images[~held_back], labels[~held_back], options, rank, processes)

    if rank == 0:
        right = (network(images[held_back]).argmax(1) == labels[held_back]).double().mean()
        print(f"{processes} processes: {right:.1%} of the digits that nobody trained on are right")
        if options.out:
            options.out.write_text(json.dumps({"losses": losses, "right": float(right)}))
    if processes > 1:
        dist.barrier()  # nobody leaves while another still talks


if __name__ == "__main__":
    main()
    # Behind `main`, which held the model: the group's threads have ended when the interpreter does.
    if dist.is_initialized():
        dist.destroy_process_group()
