"""The Triton kernels: one program a row, which reads its products W x once and in one order.

A logit is z = c·tanh((W x + bias)/c)/temperature, without tanh where there is no soft cap c. Rows start
``stride`` elements apart and have ``size`` columns, taken ``BLOCK`` at a time.
"""

import triton
import triton.language as tl


@triton.jit
def _tanh(x):
    """By a polynomial near 0 (Cephes), where 1 - 2/(exp 2x + 1) would lose digits."""
    s = x * x
    slope = (((-5.70498872745e-3 * s + 2.06390887954e-2) * s - 5.37397155531e-2) * s + 1.33314422036e-1) * s
    near = (slope - 3.33332819422e-1) * s * x + x
    far = 1.0 - 2.0 / (tl.exp(2.0 * tl.abs(x)) + 1.0)
    return tl.where(tl.abs(x) < 0.625, near, tl.where(x < 0.0, -far, far))


@triton.jit
def _capped(products, bias, columns, read, softcap, HAS_BIAS: tl.constexpr, HAS_CAP: tl.constexpr):
    """(z·temperature, tanh) at the columns; -inf where nothing is ``read``."""
    x = tl.load(products + columns, mask=read, other=float("-inf")).to(tl.float32)
    if HAS_BIAS:
        x += tl.load(bias + columns, mask=read, other=0.0)
    bent = x
    if HAS_CAP:
        bent = _tanh(x / softcap)
        x = tl.where(read, bent * softcap, float("-inf"))
    return x, bent


@triton.jit
def fold_kernel(
    products,
    size,
    stride,
    bias,
    targets,
    sums,
    top_tokens,
    rows,
    softcap,
    inverse_temperature,
    HAS_BIAS: tl.constexpr,
    HAS_CAP: tl.constexpr,
    TOP: tl.constexpr,
    SECOND: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Write peak, total, moment, target and second of ``Folded`` to ``sums`` fp32 [5, rows].

    Every lane keeps its own sums over its columns, about one running peak of the row. Lanes hold the second
    moment about their own mean, so that no digits cancel; they are put together at the end.
    """
    row = tl.program_id(0).to(tl.int64)
    products += row * stride
    lanes = tl.arange(0, BLOCK)
    peak = tl.full((), float("-inf"), tl.float32)
    top = tl.full((), 0, tl.int64)
    total = tl.zeros((BLOCK,), tl.float32)
    moment = tl.zeros((BLOCK,), tl.float32)
    second = tl.zeros((BLOCK,), tl.float32)
    for start in range(0, size, BLOCK):
        columns = start + lanes
        z, _ = _capped(products, bias, columns, columns < size, softcap, HAS_BIAS, HAS_CAP)
        z *= inverse_temperature
        highest = tl.max(z, 0)
        if TOP:
            top = tl.where(highest > peak, start + tl.argmax(z, 0), top).to(tl.int64)
        higher = tl.maximum(peak, highest)
        base = tl.where(higher == float("-inf"), 0.0, higher)
        shift = tl.where(peak == float("-inf"), 0.0, peak - base)
        scale = tl.exp(shift)
        moment = scale * (moment + shift * total)
        total = scale * total
        d = z - base
        e = tl.exp(d)
        if SECOND:
            gap = d - moment / total
            apart = total * e / (total + e) * gap * gap
            second = scale * second + tl.where((total > 0.0) & (e > 0.0), apart, 0.0)
        moment += tl.where(d == float("-inf"), 0.0, e * d)
        total += e
        peak = higher
    whole, first = tl.sum(total, 0), tl.sum(moment, 0)
    column = tl.load(targets + row)
    z, _ = _capped(products, bias, column, column >= 0, softcap, HAS_BIAS, HAS_CAP)
    target = tl.where(column >= 0, z * inverse_temperature - peak, 0.0)
    tl.store(sums + row, peak)
    tl.store(sums + rows + row, whole)
    tl.store(sums + 2 * rows + row, first)
    tl.store(sums + 3 * rows + row, target)
    if SECOND:
        gap = tl.where(total > 0.0, moment / total - first / whole, 0.0)
        tl.store(sums + 4 * rows + row, tl.sum(second + total * gap * gap, 0))
    if TOP:
        tl.store(top_tokens + row, top)


@triton.jit
def exponentials_kernel(
    products,
    size,
    stride,
    bias,
    out,
    out_stride,
    peak,
    softcap,
    inverse_temperature,
    HAS_BIAS: tl.constexpr,
    HAS_CAP: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Write exp(z - peak)."""
    row = tl.program_id(0).to(tl.int64)
    products += row * stride
    out += row * out_stride
    base = tl.load(peak + row)
    for start in range(0, size, BLOCK):
        columns = start + tl.arange(0, BLOCK)
        z, _ = _capped(products, bias, columns, columns < size, softcap, HAS_BIAS, HAS_CAP)
        e = tl.exp(z * inverse_temperature - base)
        tl.store(out + columns, e.to(out.dtype.element_ty), mask=columns < size)


@triton.jit
def gradient_kernel(
    products,
    size,
    stride,
    bias,
    out,
    out_stride,
    targets,
    active,
    peak,
    log_total,
    entropy,
    by_logprob,
    by_entropy,
    softcap,
    inverse_temperature,
    HAS_BIAS: tl.constexpr,
    HAS_CAP: tl.constexpr,
    HAS_ENTROPY: tl.constexpr,
    KEPT: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Write ∂L/∂(W x + bias) = (g·(1[j = y] - p) - h·p·(log p + H))·(1 - tanh²)/temperature.

    ``products`` hold exp(z - peak) where KEPT. Rows that are not active are neither read nor anything but
    zeros. ``out`` may lie in the first bytes of the row it is made from: a block is written once all of it is
    read, and ends before what is still to be read.
    """
    row = tl.program_id(0).to(tl.int64)
    products += row * stride
    out += row * out_stride
    read = tl.where(tl.load(active + row) != 0, size, 0)
    target = tl.load(targets + row)
    g = tl.load(by_logprob + row) * inverse_temperature
    if HAS_ENTROPY:
        h = tl.load(by_entropy + row) * inverse_temperature
        spread = tl.load(entropy + row)
    base, rest = tl.load(peak + row), tl.load(log_total + row)
    share = tl.exp(-rest)
    for start in range(0, size, BLOCK):
        columns = start + tl.arange(0, BLOCK)
        if KEPT:
            e = tl.load(products + columns, mask=columns < read, other=0.0).to(tl.float32)
            logp = tl.log(e) - rest
            p = e * share
        else:
            z, bent = _capped(products, bias, columns, columns < read, softcap, HAS_BIAS, HAS_CAP)
            logp = z * inverse_temperature - base - rest
            p = tl.exp(logp)
        value = -g * p
        if HAS_ENTROPY:
            value -= tl.where(p == 0.0, 0.0, h * p * (logp + spread))
        value += tl.where(columns == target, g, 0.0)
        if HAS_CAP:
            value *= 1.0 - bent * bent
        value = tl.where(columns < read, value, 0.0)
        tl.debug_barrier()
        tl.store(out + columns, value.to(out.dtype.element_ty), mask=columns < size)
