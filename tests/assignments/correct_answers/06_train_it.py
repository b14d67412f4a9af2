"""Right answers to assignment 6 in other styles (see 01_tubelet_embedding.py for the form)."""

import numpy as np

# %% cross_entropy: loops
import math


def cross_entropy(logits, labels):
    total = 0.0
    for row, label in zip(logits.astype(float), labels):
        largest = max(row)
        total += math.log(sum(math.exp(z - largest) for z in row)) + largest - row[label]
    return total / len(labels)


# %% cross_entropy: one-hot targets and logaddexp
def cross_entropy(logits, labels):
    log_probs = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
    return -np.einsum("ic,ic->", np.eye(logits.shape[1])[labels], log_probs) / len(labels)


# %% cross_entropy_backward: one-hot targets, float64
def cross_entropy_backward(logits, labels):
    z = logits.astype(np.float64)
    probs = np.exp(z - np.logaddexp.reduce(z, axis=1)[:, None])
    return (probs - (np.arange(z.shape[1]) == labels[:, None])) / len(z)


# %% cross_entropy_backward: loops
import math


def cross_entropy_backward(logits, labels):
    dlogits = np.zeros_like(logits)
    for i in range(len(labels)):
        powers = [math.exp(z - max(logits[i])) for z in logits[i]]
        for c in range(len(powers)):
            dlogits[i, c] = (powers[c] / sum(powers) - (c == labels[i])) / len(labels)
    return dlogits


# %% sgd_step: on copies, in place
def sgd_step(parameter, gradient, velocity, learning_rate, momentum):
    parameter, velocity = parameter.copy(), velocity.copy()
    velocity *= momentum
    velocity += gradient
    parameter -= learning_rate * velocity
    return parameter, velocity


# %% sgd_step: loops
def sgd_step(parameter, gradient, velocity, learning_rate, momentum):
    new_parameter, new_velocity = np.zeros(parameter.shape), np.zeros(parameter.shape)
    for index in np.ndindex(parameter.shape):
        new_velocity[index] = momentum * velocity[index] + gradient[index]
        new_parameter[index] = parameter[index] - learning_rate * new_velocity[index]
    return new_parameter, new_velocity


# %% adamw_step: the corrections moved into the step size, as in the paper on Adam
import math


def adamw_step(parameter, gradient, m, v, step, learning_rate, betas, eps, weight_decay):
    m = m + (1 - betas[0]) * (gradient - m)
    v = v + (1 - betas[1]) * (gradient * gradient - v)
    root = math.sqrt(1 - betas[1] ** step)
    size = learning_rate * root / (1 - betas[0] ** step)
    return parameter - learning_rate * weight_decay * parameter - size * m / (np.sqrt(v) + eps * root), m, v


# %% adamw_step: float64, a list
def adamw_step(parameter, gradient, m, v, step, learning_rate, betas, eps, weight_decay):
    p, g, m, v = (a.astype(np.float64) for a in (parameter, gradient, m, v))
    p *= 1 - learning_rate * weight_decay
    m = betas[0] * m + (1 - betas[0]) * g
    v = betas[1] * v + (1 - betas[1]) * np.square(g)
    p -= learning_rate * (m / (1 - np.power(betas[0], step))) / (np.sqrt(v / (1 - np.power(betas[1], step))) + eps)
    return [p, m, v]


# %% training_step: in place, written out
def training_step(model, pixel_values, labels, velocity, learning_rate, momentum):
    loss, gradients = model.loss_and_gradients(pixel_values, labels)
    parameters = model.state_dict()
    for name in velocity:
        velocity[name] *= momentum
        velocity[name] += gradients[name]
        parameters[name] -= learning_rate * velocity[name]
    return float(loss)


# %% training_step: through load_state_dict
def training_step(model, pixel_values, labels, velocity, learning_rate, momentum):
    loss, gradients = model.loss_and_gradients(pixel_values, labels)
    new = {}
    for name, parameter in model.state_dict().items():
        velocity[name] = momentum * velocity[name] + gradients[name]
        new[name] = parameter - learning_rate * velocity[name]
    model.load_state_dict(new)
    return loss


# %% train: a step of its own
def train(model, pixel_values, labels, num_steps, batch_size, learning_rate, momentum, rng):
    parameters = model.state_dict()
    velocity = {name: 0.0 for name in parameters}
    losses = np.zeros(num_steps)
    for step in range(num_steps):
        indices = rng.choice(len(labels), batch_size, replace=False)
        losses[step], gradients = model.loss_and_gradients(pixel_values[indices], labels[indices])
        for name in parameters:
            velocity[name] = momentum * velocity[name] + gradients[name]
            parameters[name] -= learning_rate * velocity[name]
    return losses


# %% cross_entropy: logaddexp
# change: np.log(np.exp(shifted).sum(axis=-1, keepdims=True)) => np.logaddexp.reduce(shifted, axis=-1, keepdims=True)


# %% cross_entropy: take_along_axis
# change: -log_probs[np.arange(len(labels)), labels].mean() => -np.take_along_axis(log_probs, labels[:, None], axis=1).mean()


# %% cross_entropy: a sum over the batch
# change: .mean() => .sum() / len(labels)


# %% cross_entropy: a float
# change: return -log_probs[np.arange(len(labels)), labels].mean() => return float(np.mean([-row[label] for row, label in zip(log_probs, labels)]))


# %% cross_entropy: softplus of differences
def cross_entropy(logits, labels):
    z = logits.astype(float)
    picked = z[np.arange(len(labels)), labels][:, None]
    return np.logaddexp.reduce(z - picked, axis=1).mean()


# %% cross_entropy_backward: one-hot by eye
# change: dlogits[np.arange(len(labels)), labels] -= 1 => dlogits = dlogits - np.eye(logits.shape[1])[labels]


# %% cross_entropy_backward: np.subtract.at
# change: dlogits[np.arange(len(labels)), labels] -= 1 => np.subtract.at(dlogits, (np.arange(len(labels)), labels), 1)


# %% cross_entropy_backward: times 1/N
# change: return dlogits / len(labels) => return dlogits * (1 / logits.shape[0])


# %% cross_entropy_backward: through the log-probabilities
# change: powers = np.exp(logits - logits.max(axis=-1, keepdims=True)) => z = logits - logits.max(axis=-1, keepdims=True); powers = np.exp(z - np.log(np.exp(z).sum(axis=-1, keepdims=True)))


# %% sgd_step: written out
def sgd_step(parameter, gradient, velocity, learning_rate, momentum):
    new = velocity * momentum
    new = new + gradient
    return np.subtract(parameter, learning_rate * new), new


# %% sgd_step: a list
def sgd_step(parameter, gradient, velocity, learning_rate, momentum):
    v = momentum * velocity + gradient
    return [parameter - v * learning_rate, v]


# %% sgd_step: the step in two parts
def sgd_step(parameter, gradient, velocity, learning_rate, momentum):
    return parameter - learning_rate * momentum * velocity - learning_rate * gradient, momentum * velocity + gradient


# %% sgd_step: np.multiply
def sgd_step(parameter, gradient, velocity, learning_rate, momentum):
    v = np.add(np.multiply(momentum, velocity), gradient)
    return parameter + (-learning_rate) * v, v


# %% adamw_step: the decay as a difference
# change: parameter * (1 - learning_rate * weight_decay) => parameter - learning_rate * weight_decay * parameter


# %% adamw_step: powers by multiplication
# change: v / (1 - beta2**step) => v / (1 - float(np.prod(np.full(step, beta2))))


# %% adamw_step: np.power and np.square
# change: gradient**2 => np.square(gradient)


# %% adamw_step: the running mean moved
# change: m = beta1 * m + (1 - beta1) * gradient => m = m + (1 - beta1) * (gradient - m)


# %% adamw_step: the root by a power
# change: np.sqrt(corrected_v) => corrected_v**0.5


# %% training_step: np.copyto
# change: parameter[...] = new_parameter => np.copyto(parameter, new_parameter)


# %% training_step: slices
# change: velocity[name][...] = new_velocity => velocity[name] *= 0; velocity[name] += new_velocity


# %% training_step: sorted names
# change: model.state_dict().items() => sorted(model.state_dict().items())


# %% train: a list comprehension of indices, drawn beforehand
# change: chosen = rng.choice(len(labels), batch_size, replace=False) => chosen = rng.choice(np.arange(len(labels)), size=batch_size, replace=False)


# %% train: an array of losses
# change: return losses => return np.array(losses, dtype=float)


# %% train: zeros by multiplication
# change: np.zeros_like(parameter) => 0 * parameter
