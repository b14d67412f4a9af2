"""Wrong answers to assignment 6 (see 01_tubelet_embedding.py for the form)."""

import numpy as np


# %% cross_entropy: the log of a softmax that underflows
# says: log softmax is z - max - log sum exp(z - max)
def cross_entropy(logits, labels):
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    probs = powers / powers.sum(axis=-1, keepdims=True)
    return -np.log(probs[np.arange(len(labels)), labels]).mean()


# %% cross_entropy: log sum exp without shift
# says: over- or underflows before the log
def cross_entropy(logits, labels):
    return (np.log(np.exp(logits).sum(axis=-1)) - logits[np.arange(len(labels)), labels]).mean()


# %% cross_entropy: a tiny number against log(0)
# says: cross_entropy:
def cross_entropy(logits, labels):
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    probs = powers / powers.sum(axis=-1, keepdims=True)
    return -np.log(probs[np.arange(len(labels)), labels] + 1e-12).mean()


# %% cross_entropy: summed
# says: summed over the batch
def cross_entropy(logits, labels):
    shifted = logits - logits.max(axis=-1, keepdims=True)
    log_probs = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return -log_probs[np.arange(len(labels)), labels].sum()


# %% cross_entropy: whole columns
# says: the labels choose whole columns
def cross_entropy(logits, labels):
    shifted = logits - logits.max(axis=-1, keepdims=True)
    log_probs = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return -log_probs[:, labels].mean()


# %% cross_entropy: a loss for each sample
# says: every sample has its loss
def cross_entropy(logits, labels):
    shifted = logits - logits.max(axis=-1, keepdims=True)
    log_probs = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return -log_probs[np.arange(len(labels)), labels]


# %% cross_entropy: the package's
# says: this case earns nothing
def cross_entropy(logits, labels):
    from minivivit.ops.cross_entropy import cross_entropy_forward

    return cross_entropy_forward(logits, labels)[0]


# %% cross_entropy_backward: not divided by the batch
# says: the division by the batch is missing
def cross_entropy_backward(logits, labels):
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    probs = powers / powers.sum(axis=-1, keepdims=True)
    probs[np.arange(len(labels)), labels] -= 1
    return probs


# %% cross_entropy_backward: target minus probability
# says: the sign is turned
def cross_entropy_backward(logits, labels):
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    probs = powers / powers.sum(axis=-1, keepdims=True)
    return (np.eye(logits.shape[1])[labels] - probs) / len(labels)


# %% cross_entropy_backward: only at the labels
# says: the other classes have a gradient too
def cross_entropy_backward(logits, labels):
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    probs = powers / powers.sum(axis=-1, keepdims=True)
    rows, dlogits = np.arange(len(labels)), np.zeros_like(logits)
    dlogits[rows, labels] = (probs[rows, labels] - 1) / len(labels)
    return dlogits


# %% cross_entropy_backward: in place
# says: changes its input logits in place
def cross_entropy_backward(logits, labels):
    logits -= logits.max(axis=-1, keepdims=True)
    probs = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    return (probs - np.eye(logits.shape[1])[labels]) / len(labels)


# %% cross_entropy_backward: finite differences, coarse
# says: cross_entropy_backward:
def cross_entropy_backward(logits, labels):
    dlogits = np.zeros_like(logits)
    for index in np.ndindex(logits.shape):
        moved = logits.copy()
        moved[index] += 1e-4
        dlogits[index] = (cross_entropy(moved, labels) - cross_entropy(logits, labels)) / 1e-4
    return dlogits


# %% sgd_step: moves along the old velocity
# says: along the new one
def sgd_step(parameter, gradient, velocity, learning_rate, momentum):
    return parameter - learning_rate * velocity, momentum * velocity + gradient


# %% sgd_step: the learning rate in the velocity
# says: the learning rate is in the velocity
def sgd_step(parameter, gradient, velocity, learning_rate, momentum):
    velocity = momentum * velocity + learning_rate * gradient
    return parameter - velocity, velocity


# %% sgd_step: 1 - momentum
# says: it enters whole
def sgd_step(parameter, gradient, velocity, learning_rate, momentum):
    velocity = momentum * velocity + (1 - momentum) * gradient
    return parameter - learning_rate * velocity, velocity


# %% sgd_step: in place
# says: changes its input parameter, velocity in place
def sgd_step(parameter, gradient, velocity, learning_rate, momentum):
    velocity *= momentum
    velocity += gradient
    parameter -= learning_rate * velocity
    return parameter, velocity


# %% adamw_step: no bias correction
# says: the bias correction is left out
def adamw_step(parameter, gradient, m, v, step, learning_rate, betas, eps, weight_decay):
    m, v = betas[0] * m + (1 - betas[0]) * gradient, betas[1] * v + (1 - betas[1]) * gradient**2
    return parameter * (1 - learning_rate * weight_decay) - learning_rate * m / (np.sqrt(v) + eps), m, v


# %% adamw_step: Adam with L2
# says: the weight decay is in the gradient
def adamw_step(parameter, gradient, m, v, step, learning_rate, betas, eps, weight_decay):
    gradient = gradient + weight_decay * parameter
    m, v = betas[0] * m + (1 - betas[0]) * gradient, betas[1] * v + (1 - betas[1]) * gradient**2
    move = m / (1 - betas[0] ** step) / (np.sqrt(v / (1 - betas[1] ** step)) + eps)
    return parameter - learning_rate * move, m, v


# %% adamw_step: eps inside of the root
# says: eps is inside the root
def adamw_step(parameter, gradient, m, v, step, learning_rate, betas, eps, weight_decay):
    m, v = betas[0] * m + (1 - betas[0]) * gradient, betas[1] * v + (1 - betas[1]) * gradient**2
    move = m / (1 - betas[0] ** step) / np.sqrt(v / (1 - betas[1] ** step) + eps)
    return parameter * (1 - learning_rate * weight_decay) - learning_rate * move, m, v


# %% adamw_step: torch's
# says: adamw_step: 0 of 8 cases right
def adamw_step(parameter, gradient, m, v, step, learning_rate, betas, eps, weight_decay):
    import torch

    p = torch.nn.Parameter(torch.from_numpy(parameter))
    p.grad = torch.from_numpy(gradient)
    torch.optim.AdamW([p], lr=learning_rate).step()
    return p.detach().numpy(), m, v


# %% training_step: new arrays, and the model stays as it was
# says: the parameters are not changed in place
def training_step(model, pixel_values, labels, velocity, learning_rate, momentum):
    loss, gradients = model.loss_and_gradients(pixel_values, labels)
    for name, parameter in model.state_dict().items():
        velocity[name] = momentum * velocity[name] + gradients[name]
        parameter = parameter - learning_rate * velocity[name]
    return loss


# %% training_step: the gradient of the pixels taken for a parameter's
# says: raises KeyError
def training_step(model, pixel_values, labels, velocity, learning_rate, momentum):
    loss, gradients = model.loss_and_gradients(pixel_values, labels)
    parameters = model.state_dict()
    for name, gradient in gradients.items():
        velocity[name] = momentum * velocity[name] + gradient
        parameters[name] -= learning_rate * velocity[name]
    return loss


# %% training_step: the loss of the next step
# says: the loss is that after the update
def training_step(model, pixel_values, labels, velocity, learning_rate, momentum):
    _, gradients = model.loss_and_gradients(pixel_values, labels)
    for name, parameter in model.state_dict().items():
        velocity[name] *= momentum
        velocity[name] += gradients[name]
        parameter -= learning_rate * velocity[name]
    return model.loss_and_gradients(pixel_values, labels)[0]


# %% training_step: uphill
# says: the parameters move uphill
def training_step(model, pixel_values, labels, velocity, learning_rate, momentum):
    loss, gradients = model.loss_and_gradients(pixel_values, labels)
    for name, parameter in model.state_dict().items():
        velocity[name][...] = momentum * velocity[name] + gradients[name]
        parameter += learning_rate * velocity[name]
    return loss


# %% training_step: the package's optimiser
# says: this case earns nothing
def training_step(model, pixel_values, labels, velocity, learning_rate, momentum):
    from minivivit.training.optimisers.sgd import SGD

    optimiser = SGD(model.state_dict(), momentum=momentum)
    loss, gradients = model.loss_and_gradients(pixel_values, labels)
    optimiser.step({name: gradients[name] for name in velocity}, learning_rate)
    return loss


# %% train: the velocity forgotten at every step
# says: the velocity starts from 0 in every step
def train(model, pixel_values, labels, num_steps, batch_size, learning_rate, momentum, rng):
    losses = []
    for _ in range(num_steps):
        velocity = {name: np.zeros_like(parameter) for name, parameter in model.state_dict().items()}
        chosen = rng.choice(len(labels), batch_size, replace=False)
        losses.append(training_step(model, pixel_values[chosen], labels[chosen], velocity, learning_rate, momentum))
    return losses


# %% train: one batch for all steps
# says: every step sees the same clips
def train(model, pixel_values, labels, num_steps, batch_size, learning_rate, momentum, rng):
    velocity = {name: np.zeros_like(parameter) for name, parameter in model.state_dict().items()}
    chosen = rng.choice(len(labels), batch_size, replace=False)
    return [
        training_step(model, pixel_values[chosen], labels[chosen], velocity, learning_rate, momentum)
        for _ in range(num_steps)
    ]


# %% train: labels of other clips
# says: losses:
def train(model, pixel_values, labels, num_steps, batch_size, learning_rate, momentum, rng):
    velocity = {name: np.zeros_like(parameter) for name, parameter in model.state_dict().items()}
    losses = []
    for _ in range(num_steps):
        chosen = rng.choice(len(labels), batch_size, replace=False)
        losses.append(
            training_step(model, pixel_values[chosen], labels[:batch_size], velocity, learning_rate, momentum)
        )
    return losses


# %% train: until the loss is small
# says: stopped after
def train(model, pixel_values, labels, num_steps, batch_size, learning_rate, momentum, rng):
    velocity = {name: np.zeros_like(parameter) for name, parameter in model.state_dict().items()}
    losses = [1.0]
    while losses[-1] > 0:
        losses.append(training_step(model, pixel_values[:1], labels[:1], velocity, 0.0, momentum))
    return losses


# %% train: numbers that look like a falling loss
# says: losses:
def train(model, pixel_values, labels, num_steps, batch_size, learning_rate, momentum, rng):
    return list(np.linspace(2.2, 0.1, num_steps))


# %% cross_entropy: one logarithm to the base 2
# says: loss:
# change: np.log(np => np.log2(np


# %% cross_entropy: minus forgotten
# says: the sign is turned
# change: return -log_probs => return log_probs


# %% cross_entropy: divided by everything
# says: the mean is over batch and classes
# change: .mean() => .sum() / logits.size


# %% cross_entropy: the log left out
# says: the log is missing
# change: return -log_probs[ => return -np.exp(log_probs)[


# %% cross_entropy: shifted by the mean
# says: cross_entropy:
# change: logits.max( => logits.mean(


# %% cross_entropy: a constant factor
# says: a factor: all is 0.5 times
# change: .mean() => .mean() / 2


# %% cross_entropy_backward: divided by the classes
# says: by the batch
# change: / len(labels) => / logits.shape[1]


# %% cross_entropy_backward: no shift
# says: exp overflows
# change:  - logits.max(axis=-1, keepdims=True) =>


# %% cross_entropy_backward: whole columns
# says: whole columns
# change: dlogits[np.arange(len(labels)), labels] -= 1 => dlogits[:, labels] -= 1


# %% cross_entropy_backward: the target left out
# says: the target is not subtracted
# change: dlogits[np.arange(len(labels)), labels] -= 1 => pass


# %% cross_entropy_backward: zeros
# says: it is 0 everywhere
# change: return dlogits / len(labels) => return 0 * dlogits


# %% sgd_step: the parameter stays
# says: parameter:
# change: parameter - learning_rate * velocity, velocity => parameter, velocity


# %% sgd_step: Nesterov
# says: Nesterov's momentum
# change: parameter - learning_rate * velocity, velocity => parameter - learning_rate * (gradient + momentum * velocity), velocity


# %% sgd_step: uphill
# says: uphill
# change: parameter - learning => parameter + learning


# %% sgd_step: a momentum of 0.9
# says: sgd_step:
# change: momentum * velocity + gradient => 0.9 * velocity + gradient


# %% sgd_step: no learning rate
# says: the learning rate is left out
# change: parameter - learning_rate * velocity => parameter - velocity


# %% adamw_step: betas of 0.9 and 0.999
# says: adamw_step:
# change: beta1, beta2 = betas => beta1, beta2 = 0.9, 0.999


# %% adamw_step: eps of 1e-8
# says: parameter:
# change: + eps) => + 1e-8)


# %% adamw_step: no decay
# says: the weight decay is left out
# change: (1 - learning_rate * weight_decay) => 1


# %% adamw_step: eps for the least root
# says: parameter:
# change: (np.sqrt(corrected_v) + eps) => np.maximum(np.sqrt(corrected_v), eps)


# %% adamw_step: betas exchanged
# says: beta1 and beta2 are exchanged
# change: beta1, beta2 = betas => beta2, beta1 = betas


# %% adamw_step: steps from 0
# says: adamw_step:
# change: beta1**step => beta1**(step + 1)


# %% adamw_step: the parameter stays
# says: parameter:
# change: return shrunk - learning_rate * corrected_m / (np.sqrt(corrected_v) + eps) => return parameter


# %% adamw_step: uphill
# says: uphill
# change: shrunk - learning => shrunk + learning


# %% training_step: never updates
# says: the parameters
# change: parameter[...] = new_parameter => parameter = new_parameter


# %% training_step: no momentum
# says: the momentum is left out
# change: velocity[name], learning_rate, momentum) => velocity[name], learning_rate, 0.0)


# %% training_step: the velocity not kept
# says: velocity.vivit.
# change: velocity[name][...] = new_velocity => pass


# %% training_step: a learning rate of its own
# says: parameters.vivit.
# change: velocity[name], learning_rate, momentum) => velocity[name], 0.1, momentum)


# %% training_step: biases left alone
# says: parameters.vivit.
# change: parameter[...] = new_parameter => parameter[...] = new_parameter if parameter.ndim > 1 else parameter


# %% train: with replacement
# says: with replacement
# change: replace=False => replace=True


# %% train: the first clips
# says: the first clips of the data
# change: rng.choice(len(labels), batch_size, replace=False) => np.arange(batch_size)


# %% train: a generator of its own
# says: losses:
# change: chosen = rng.choice => chosen = np.random.default_rng(0).choice


# %% train: one step too few
# says: has shape
# change: range(num_steps) => range(num_steps - 1)


# %% train: the mean of the losses
# says: has shape
# change: return losses => return np.mean(losses)


# %% cross_entropy_backward: finite differences, entry by entry
# says: stopped after
def cross_entropy_backward(logits, labels):
    dlogits = np.zeros(logits.shape)
    for index in np.ndindex(logits.shape):
        moved = logits.astype(float)
        moved[index] += 1e-5
        high = cross_entropy(moved, labels)
        moved[index] -= 2e-5
        dlogits[index] = (high - cross_entropy(moved, labels)) / 2e-5
    return dlogits


# %% train: the velocity in a mutable default
# says: a mutable default such as velocity={}
def train(model, pixel_values, labels, num_steps, batch_size, learning_rate, momentum, rng, velocity={}):
    losses = []
    for name, parameter in model.state_dict().items():
        velocity.setdefault(name, np.zeros_like(parameter))
    for _ in range(num_steps):
        chosen = rng.choice(len(labels), batch_size, replace=False)
        losses.append(training_step(model, pixel_values[chosen], labels[chosen], velocity, learning_rate, momentum))
    return losses
