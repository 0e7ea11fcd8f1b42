package io.hydraopt

/** What is added to the base: weights of tasks by name; empty for the base itself. */
internal typealias Mixture = Map<String, Float>

private const val LARGEST_WEIGHT = 16f

/** The one task of a mixture; null for several tasks and for the base. */
internal val Mixture.task: String? get() = keys.singleOrNull()

/** Leaves out tasks of weight 0. Throws [TaskException] for weights that cannot be. */
internal fun mixtureOf(weights: Map<String, Float>, tasks: List<String>): Mixture {
    for ((task, weight) in weights) {
        if (task !in tasks) {
            throw TaskException("no task '$task'; there are: ${tasks.joinToString(", ")}")
        }
        if (!(weight >= -LARGEST_WEIGHT && weight <= LARGEST_WEIGHT)) {
            throw TaskException("the weight of task '$task' is $weight, expected -16 to 16")
        }
    }
    return weights.filterValues { it != 0f }.ifEmpty {
        throw TaskException("all weights are 0, which is the base; call switchToBase for it")
    }
}
