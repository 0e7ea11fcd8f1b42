package io.hydraopt

import io.hydraopt.ManifestFormat.FORWARD
import io.hydraopt.ManifestFormat.UNPACK
import org.pytorch.executorch.EValue
import org.pytorch.executorch.Tensor

/** What runs a mixture: a method of the program, and its factors if they are inputs. */
internal class Ready(val method: String, val factors: Array<EValue>)

/** Loads tasks, mixtures and the base of a bundle. */
internal class TaskLoader(private val bundle: TaskBundle, private val program: Program) {
    private val manifest = bundle.manifest
    private val swap = manifest.swap

    /** Loads the methods that all tasks use. */
    fun open() {
        if (swap is Swap.Inputs) {
            program.load(FORWARD)
            program.load(UNPACK)
        }
    }

    /** Throws [TaskException] if each task has a method of its own, with its own KV cache. */
    fun checkKeepsCache() {
        if (swap !is Swap.Inputs) throw needsInputs("a switch that keeps the KV cache")
    }

    /**
     * Checks the packs of a mixture's tasks.
     *
     * @return their payloads by task, with the weights of their factors; empty unless factors are
     *   inputs.
     * @throws TaskException the bundle cannot run this mixture.
     * @throws BundleException a pack is damaged.
     */
    fun check(mixture: Mixture): List<Weighed> {
        if (swap !is Swap.Inputs) {
            if (mixture.values.singleOrNull() == 1f) return listOf()
            val base = mixture.isEmpty()
            throw needsInputs(if (base) "the base without an adapter" else "a weight or a mixture")
        }
        if (manifest.classes.isNotEmpty() && mixture.size != 1) {
            throw TaskException(
                "the tasks of ${bundle.directory} have classifiers of their own, which cannot be " +
                    "${if (mixture.isEmpty()) "left out" else "mixed"}; switch to one task"
            )
        }
        return mixture.ifEmpty { mapOf(bundle.tasks[0] to 0f) }
            .map { (task, weight) -> Weighed(bundle.packs(task), weight) }
    }

    /** The packs of one task, and the weight of its factors. */
    class Weighed(val packs: List<Pack>, val weight: Float)

    /**
     * Loads a mixture that was checked. The factors of the task that was loaded before are lost.
     *
     * @throws TaskException its tasks do not share all rows.
     */
    fun load(mixture: Mixture, checked: List<Weighed>): Ready {
        if (swap !is Swap.Inputs) {
            val task = mixture.keys.single()
            val method = if (swap is Swap.Methods) swap.methods.getValue(task) else FORWARD
            program.load(method)
            return Ready(method, arrayOf())
        }
        val one = checked.singleOrNull()
        if (one?.weight == 1f) return Ready(FORWARD, unpack(one.packs, swap) { it })
        val mixed = MixedFactors(swap.factors)
        for (task in checked) unpack(task.packs, swap) { mixed.add(it, task.weight) }
        if (mixed.unshared.isNotEmpty()) throw unmixable(mixture, mixed.unshared)
        return Ready(FORWARD, mixed.values)
    }

    /** Unpacks payloads into factors, in native memory of the method `unpack`. */
    private fun <T> unpack(packs: List<Pack>, swap: Swap.Inputs, read: (Array<EValue>) -> T): T {
        val payloads = packs.map {
            val shape = longArrayOf(it.payload.capacity().toLong())
            EValue.from(Tensor.fromBlobUnsigned(it.payload, shape))
        }
        return program.execute(UNPACK, payloads.toTypedArray()) {
            if (it.size != swap.factors.size) {
                throw BundleException(
                    "method unpack of ${bundle.program} gives ${it.size} factors, expected " +
                        "${swap.factors.size} as in manifest.json; export or copy the bundle again"
                )
            }
            read(it)
        }
    }

    private fun unmixable(mixture: Mixture, unshared: List<String>) = TaskException(
        "${mixture.keys.joinToString(", ") { "'$it'" }} cannot be mixed: " +
            "${unshared.distinct().size} modules have rows of their own for each task, such as " +
            "${unshared[0]}; compress the adapters with --mixable and export again"
    )

    private fun needsInputs(what: String): TaskException {
        val name = if (swap is Swap.Methods) "methods" else "static"
        return TaskException(
            "${bundle.directory} has swap '$name', expected 'inputs' for $what; export again " +
                "with --swap inputs"
        )
    }
}
