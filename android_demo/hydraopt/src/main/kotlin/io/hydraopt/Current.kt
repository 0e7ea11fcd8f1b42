package io.hydraopt

/** What a program runs at present: a task, a mixture or the base, and for which calls. */
internal class Current(
    private val bundle: TaskBundle,
    private val program: Program,
    private val loader: TaskLoader
) {
    private val model = bundle.manifest.model
    private val sequence = (model as? Model.CausalLm)?.let { Sequence(bundle, it, program) }
    private val oneShot = OneShot(bundle, program)

    /** Weights of the current tasks; empty for the base, null for nothing. */
    @Volatile
    var mixture: Mixture? = null
        private set

    /** Number of tokens in the KV cache. */
    val position: Int get() = sequence?.position ?: 0

    /** As [TaskSession.switchTo]; no weights are the base. */
    fun switch(mixture: Mixture, keepCache: Boolean): SwitchTimes {
        if (keepCache) loader.checkKeepsCache()
        val start = System.nanoTime()
        val packs = loader.check(mixture)
        val checked = System.nanoTime()
        val before = this.mixture
        this.mixture = null // until it worked: the current factors are overwritten
        val ready = try {
            loader.load(mixture, packs)
        } catch (error: TaskException) {
            if (before != null) use(before, loader.load(before, loader.check(before)), true)
            throw error
        }
        use(mixture, ready, keepCache)
        return SwitchTimes(checked - start, System.nanoTime() - checked)
    }

    private fun use(mixture: Mixture, ready: Ready, keepCache: Boolean) {
        sequence?.use(ready.method, ready.factors)
        oneShot.use(ready.method, ready.factors)
        if (!keepCache) rewind(0)
        this.mixture = mixture
    }

    /** Keeps the first [position] tokens of the KV cache. */
    fun rewind(position: Int) {
        sequence?.rewind(position)
    }

    /** The sequence of a causal LM. Throws [TaskException] for another model or no task. */
    fun sequence(): Sequence {
        asked<Model.CausalLm>(Model.CausalLm.KIND, "call run")
        return sequence!!
    }

    /** Runs an encoder. Throws what the function [ids] does, and [TaskException] as [sequence]. */
    fun encode(ids: () -> IntArray): Output {
        val model = asked<Model.Encoder>(Model.Encoder.KIND, "pass a Picture, or call generate")
        return oneShot.run(ids(), model, classes)
    }

    /** The same of an image model. */
    fun view(pixels: (Model.Image) -> FloatArray): Output {
        val model = asked<Model.Image>(Model.Image.KIND, "pass a text, or call generate")
        return oneShot.run(pixels(model), model, classes)
    }

    private val classes get() = mixture?.task?.let { bundle.manifest.classes[it] }

    /** The base model, of a kind, where a task is current. */
    private inline fun <reified M : Model> asked(kind: String, step: String): M {
        val model = model as? M ?: throw TaskException(
            "the base model of ${bundle.directory} is of kind ${model.kind}, expected $kind; $step"
        )
        if (mixture == null) {
            val tasks = bundle.tasks.joinToString(", ")
            throw TaskException("no task is current; switch to one of: $tasks")
        }
        return model
    }
}
