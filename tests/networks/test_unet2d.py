from __future__ import annotations

import pytest
import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from neoseg.networks.unet2d import InputNormalisation, UNet2d


def count_by_formula(inputs: int, outputs: int, filters: list[int]) -> int:
    total = 0
    for before, width in zip([inputs, *filters[:-1]], filters, strict=True):
        total += 9 * before * width + 9 * width * width + 4 * width
    for below, width in zip(filters[1:], filters[:-1], strict=True):
        total += 4 * below * width + width
        total += 9 * (2 * width) * width + 9 * width * width + 4 * width
    return total + filters[0] * outputs + outputs


def test_the_network_has_the_size_of_the_papers():
    network = UNet2d(1, 11)
    count = sum(parameter.numel() for parameter in network.parameters())
    assert count == count_by_formula(1, 11, [16, 32, 64, 128, 256]) == 1_942_459
    # The biases in front of batch normalisation, which the network leaves out.
    redundant = 2 * (16 + 32 + 64 + 128 + 256) + 2 * (16 + 32 + 64 + 128)
    assert round(count / 1e6, 2) == round((count + redundant) / 1e6, 2) == 1.94


@pytest.mark.parametrize("size", [(16, 32), (48, 16)])
def test_logits_have_the_size_of_the_image(size):
    assert UNet2d(2, 5)(torch.randn(2, 2, *size)).shape == (2, 5, *size)


def test_the_gradient_reaches_every_parameter():
    torch.manual_seed(0)
    network = UNet2d(1, 3, filters=(4, 8, 16))
    network(torch.randn(2, 1, 16, 16)).square().mean().backward()
    assert [n for n, p in network.named_parameters() if not p.grad.abs().sum() > 0] == []


def test_every_level_reaches_the_decoder_by_its_skip_connection():
    torch.manual_seed(0)
    filters = (4, 8, 16)
    network = UNet2d(1, 3, filters=filters)
    encoded, joined = [], []
    for block in network.encoder:
        block.register_forward_hook(lambda _module, _inputs, output: encoded.append(output.clone()))
    for block in network.decoder:
        block.register_forward_pre_hook(lambda _module, inputs: joined.append(inputs[0].clone()))
    network(torch.randn(2, 1, 16, 16))
    for level, width in enumerate(filters[:-1]):
        features = joined[-1 - level]
        assert features.shape[1] == 2 * width
        assert torch.equal(features[:, :width], encoded[level])


class TestInputNormalisation:
    @pytest.fixture
    def images(self):
        torch.manual_seed(0)
        return torch.randn(12, 2, 7, 5) * torch.tensor([3.0, 0.2])[:, None, None] + 40

    @pytest.mark.parametrize("sizes", [(12,), (1, 11), (5, 4, 3), (1,) * 12])
    def test_statistics_do_not_depend_on_the_batches(self, images, sizes):
        module = InputNormalisation(2)
        for batch in images.split(sizes):
            module(batch)
        assert torch.allclose(module.mean, images.mean(dim=(0, 2, 3)), rtol=1e-5)
        assert torch.allclose(module.variance, images.var(dim=(0, 2, 3), correction=0), rtol=1e-3)
        assert module.count == 12
        result = module.eval()(images)
        assert torch.allclose(result.mean(dim=(0, 2, 3)), torch.zeros(2), atol=1e-3)
        assert torch.allclose(result.std(dim=(0, 2, 3)), torch.ones(2), atol=1e-2)

    def test_an_image_is_treated_alike_in_training_and_in_evaluation(self, images):
        module = InputNormalisation(2)
        module(images)
        trained = module(images[:1])
        assert torch.equal(module.eval()(images[:1]), trained)

    def test_evaluation_learns_nothing(self, images):
        module = InputNormalisation(2).eval()
        assert torch.allclose(module(images), images, rtol=1e-5)
        assert module.count == 0

    def test_constant_images_stay_finite(self):
        module = InputNormalisation(1)
        assert module(torch.full((2, 1, 4, 4), 7.0)).abs().max() == 0

    def test_statistics_travel_with_the_state(self, images):
        module, other = InputNormalisation(2), InputNormalisation(2)
        module(images)
        other.load_state_dict(module.state_dict())
        assert torch.equal(other.eval()(images), module.eval()(images))

    def test_an_averaged_copy_follows_the_statistics(self, images):
        module = InputNormalisation(2)
        module(images)
        teacher = AveragedModel(module, multi_avg_fn=get_ema_multi_avg_fn(0.5), use_buffers=True)
        for _ in range(40):
            teacher.update_parameters(module)
        assert torch.allclose(teacher.module.mean, module.mean)
