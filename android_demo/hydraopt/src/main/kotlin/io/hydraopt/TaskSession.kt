package io.hydraopt

import io.hydraopt.ManifestFormat.UNPACK
import io.hydraopt.ManifestFormat.FORWARD
import java.io.Closeable
import java.io.File
import org.pytorch.executorch.EValue
import org.pytorch.executorch.Tensor

/**
 * A bundle in memory: one program, one current task, one KV cache.
 *
 * **The thread rule.** A session belongs to the thread that opened it. Every call from another one
 * is refused with a [UsageException], except [cancel], which any thread may call at any time. Give
 * a session an executor with one thread, and [open] it there. No session can be opened while
 * another one of the process generates.
 *
 * @property bundle what was opened.
 */
class TaskSession private constructor(
    val bundle: Bundle,
    private val program: Program,
    private val tokenizer: Tokenizer?
) : Closeable {
    private val manifest = bundle.manifest
    private val owner = Owner()
    private val sequence =
        (manifest.model as? Model.CausalLm)?.let { Sequence(bundle, it, program) }

    /** Names of the tasks. */
    val tasks: List<String> get() = bundle.tasks

    /** The current task; null before the first [switch]. */
    var task: String? = null
        private set

    /** Number of tokens in the KV cache. */
    val position: Int get() = sequence?.position ?: 0

    /**
     * Makes [task] the current one and forgets the KV cache.
     *
     * @return how long it took.
     * @throws TaskException no such task.
     * @throws BundleException its pack was damaged or cut after [open].
     */
    fun switch(task: String): SwitchTimes = owner.call("switch") {
        if (task !in tasks) {
            throw TaskException("no task '$task'; there are: ${tasks.joinToString(", ")}")
        }
        val start = System.nanoTime()
        val swap = manifest.swap
        val packs = if (swap is Swap.Inputs) bundle.packs(task) else listOf()
        val checked = System.nanoTime()
        Program.running {
            val method = if (swap is Swap.Methods) swap.methods.getValue(task) else FORWARD
            if (swap !is Swap.Inputs) program.load(method) // theirs was loaded at the start
            val factors = if (swap is Swap.Inputs) factors(packs, swap) else arrayOf()
            sequence?.use(method, factors)
        }
        this.task = task
        SwitchTimes(checked - start, System.nanoTime() - checked)
    }

    /** The factors of packs, in native memory of the method `unpack`. */
    private fun factors(packs: List<Pack>, swap: Swap.Inputs): Array<EValue> {
        task = null // until it worked: the current ones are overwritten
        val payloads = packs.map {
            val shape = longArrayOf(it.payload.capacity().toLong())
            EValue.from(Tensor.fromBlobUnsigned(it.payload, shape))
        }
        val factors = program.execute(UNPACK, payloads.toTypedArray())
        if (factors.size != swap.factors.size) {
            throw BundleException(
                "method unpack of ${bundle.program} gives ${factors.size} factors, expected " +
                    "${swap.factors.size} as in manifest.json; export or copy the bundle again"
            )
        }
        return factors
    }

    /** Starts a new sequence: the next token goes to position 0. */
    fun reset() = owner.call("reset") { sequence?.reset() ?: Unit }

    /**
     * Appends [ids] to the sequence, in pieces that the program takes.
     *
     * @return logits after the last one, one per token of the vocabulary; overwritten by the next
     *   call of [forward] or [generate].
     * @throws TaskException no causal LM, no current task, no ids or unknown ones, or more than the
     *   context holds.
     */
    fun forward(ids: IntArray): FloatArray = owner.call("forward") {
        val sequence = asked()
        Program.running { sequence.append(ids) { false } }!!
    }

    /**
     * Continues [prompt] as a new sequence with the current task.
     *
     * @param prompt the text, or with [Options.chat] the user's message.
     * @param options how tokens are chosen, and how many.
     * @param onPiece gets the answer piece by piece, whole characters each, on this thread. It may
     *   call [cancel], and nothing else of the session.
     * @return the answer and how it came.
     * @throws TaskException as [forward] and [encode].
     */
    @JvmOverloads
    fun generate(
        prompt: String,
        options: Options = Options(),
        onPiece: (String) -> Unit = {}
    ): Generation = owner.call("generate") {
        val sequence = asked()
        val text = encoder().stream()
        Program.running {
            sequence.generate(ids(prompt, options.chat), options, owner::cancelled) { token ->
                val piece = if (token == null) text.finish() else text.push(token)
                if (piece.isNotEmpty()) onPiece(piece)
                piece
            }
        }
    }

    /** Ends the generation that runs, if one does, after its token. Any thread may call it. */
    fun cancel() = owner.cancel()

    /**
     * Token ids of [text].
     *
     * @param chat whether it is one user turn of the base's chat template.
     * @throws TaskException the bundle has no tokenizer, or no chat template.
     */
    @JvmOverloads
    fun encode(text: String, chat: Boolean = false): IntArray = owner.call("encode") {
        ids(text, chat)
    }

    private fun ids(text: String, chat: Boolean): IntArray {
        if (!chat) return encoder().encode(text)
        val template = (manifest.model as? Model.CausalLm)?.chat ?: throw TaskException(
            "${bundle.directory} has no chat template, as its base model's tokenizer has none " +
                "that is a prefix and a suffix of one message; pass the whole prompt without chat"
        )
        return encoder().encode(template.render(text), addSpecialTokens = false)
    }

    /** Text of token ids, without special tokens; empty if the bundle has no tokenizer. */
    fun decode(ids: IntArray): String = owner.call("decode") { tokenizer?.decode(ids) ?: "" }

    /** Frees the program. The session cannot be used any more; closing again does nothing. */
    override fun close() = owner.close { program.close() }

    private fun encoder(): Tokenizer = tokenizer
        ?: throw TaskException("${bundle.directory} has no tokenizer; pass token ids to forward")

    /** The sequence of a causal LM that has a current task. */
    private fun asked(): Sequence {
        val found = sequence ?: throw TaskException(
            "the base model of ${bundle.directory} is of kind ${manifest.model.kind}, expected " +
                "${Model.CausalLm.KIND}; run it with Python"
        )
        if (task == null) {
            throw TaskException("no task is current; switch to one of: ${tasks.joinToString(", ")}")
        }
        return found
    }

    companion object {
        /**
         * Opens the bundle in [directory], checks every file and loads the program.
         *
         * @param threads of ExecuTorch's thread pool, one for the whole process; 0 for its default.
         * @throws BundleException as [Bundle.open], or ExecuTorch refuses the program.
         * @throws UsageException another session generates.
         */
        @JvmStatic
        @JvmOverloads
        fun open(directory: File, threads: Int = 0): TaskSession =
            open(Bundle.open(directory), threads)

        /** Loads the program of an opened [bundle]; parameters and errors as above. */
        @JvmStatic
        @JvmOverloads
        fun open(bundle: Bundle, threads: Int = 0): TaskSession {
            if (bundle.manifest.swap is Swap.Data) {
                throw BundleException(
                    "${bundle.directory} swaps .ptd files, which this library cannot load with a " +
                        "program; export with --swap inputs"
                )
            }
            val tokenizer = bundle.tokenizer?.let(Tokenizer::read)
            val program = Program.load(bundle, threads)
            try {
                if (bundle.manifest.swap is Swap.Inputs) {
                    program.load(FORWARD)
                    program.load(UNPACK)
                }
                return TaskSession(bundle, program, tokenizer)
            } catch (error: Throwable) {
                program.close()
                throw error
            }
        }
    }
}
