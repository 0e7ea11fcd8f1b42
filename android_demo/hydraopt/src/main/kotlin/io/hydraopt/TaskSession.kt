package io.hydraopt

import java.io.Closeable
import java.io.File

/**
 * A bundle in memory: one program, one current task, one KV cache.
 *
 * **Threads.** Any thread may call a session, and close it; calls take turns. A generation is one
 * call: others wait for its end, and [close] stops it. Its callback may not call the session, but
 * for [close].
 *
 * @property bundle the open bundle.
 */
class TaskSession private constructor(
    val bundle: TaskBundle,
    program: Program,
    private val loader: TaskLoader,
    private val tokenizer: Result<Tokenizer>?
) : Closeable {
    private val manifest = bundle.manifest
    private val turns = Turns(program::close)
    private val sequence =
        (manifest.model as? Model.CausalLm)?.let { Sequence(bundle, it, program) }
    private val oneShot = OneShot(bundle, program)

    /** Names of the tasks. */
    val tasks: List<String> get() = bundle.tasks

    @Volatile
    private var current: Mixture? = null

    /** The current task; null for a mixture, for the base and before the first switch. */
    val task: String? get() = current?.task

    /** Weights of the current tasks by name; empty for the base. */
    val mixture: Map<String, Float> get() = current.orEmpty()

    /** Number of tokens in the KV cache. */
    val position: Int get() = sequence?.position ?: 0

    /**
     * Switches to [task] and clears the KV cache.
     *
     * If that is refused, the task and the KV cache stay as they are; if the program fails, no task
     * is current.
     *
     * @param scale weight of the task's adapter, -16 to 16.
     * @param keepCache keeps the tokens in the KV cache: for adapters that are trained to read the
     *   base's, such as activated LoRA.
     * @return the times of the switch.
     * @throws TaskException the task does not exist, or the bundle cannot scale it or keep its
     *   cache.
     * @throws BundleException its pack was damaged or truncated after [open].
     */
    @JvmOverloads
    fun switchTo(task: String, scale: Float = 1f, keepCache: Boolean = false): SwitchTimes =
        switchTo(mapOf(task to scale), keepCache)

    /**
     * Switches to a mixture: the base plus the weighted sum of tasks' deltas.
     *
     * @param weights weights of tasks by name, -16 to 16, of which one at least is not 0.
     * @param keepCache as above, as are what is returned and what is thrown.
     * @throws TaskException the tasks cannot be mixed, too.
     */
    @JvmOverloads
    fun switchTo(weights: Map<String, Float>, keepCache: Boolean = false): SwitchTimes =
        turns.take("switchTo") { switch(mixtureOf(weights, tasks), keepCache) }

    /** Switches to the base without an adapter, as [switchTo] does to a task. */
    @JvmOverloads
    fun switchToBase(keepCache: Boolean = false): SwitchTimes =
        turns.take("switchToBase") { switch(mapOf(), keepCache) }

    private fun switch(mixture: Mixture, keepCache: Boolean): SwitchTimes {
        if (keepCache) loader.checkKeepsCache()
        val start = System.nanoTime()
        val packs = loader.check(mixture)
        val checked = System.nanoTime()
        val before = current
        current = null // until it worked: the current factors are overwritten
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
        if (!keepCache) sequence?.rewind(0)
        current = mixture
    }

    /** Starts a new sequence: the next token goes to position 0. */
    fun reset() = turns.take("reset") { sequence?.rewind(0) ?: Unit }

    /**
     * Goes back in the sequence: keeps the first [position] tokens and forgets the others.
     *
     * @throws TaskException there are fewer tokens.
     */
    fun rewind(position: Int) = turns.take("rewind") {
        if (position !in 0..this.position) {
            throw TaskException(
                "cannot rewind to position $position: the KV cache has ${this.position} tokens"
            )
        }
        sequence?.rewind(position) ?: Unit
    }

    /**
     * Appends [ids] to the sequence, split as the program requires.
     *
     * @return logits after the last id, one per token of the vocabulary; overwritten by the next
     *   call of [forward] or [generate], on whatever thread.
     * @throws TaskException the model is not a causal LM, there is no current task, or ids are
     *   missing, unknown or too many for the context.
     */
    fun forward(ids: IntArray): FloatArray = turns.take("forward") {
        asked().append(ids, turns::isClosing) ?: throw turns.closed("forward")
    }

    /**
     * Continues [prompt] as a new sequence with the current task.
     *
     * @param prompt the text, or with [Options.chat] the user's message.
     * @param options sampling options.
     * @param cancellation ends it early.
     * @param onPiece receives the answer in pieces of whole characters, on this thread. It may not
     *   call the session, but may close it.
     * @return the answer with its timings.
     * @throws TaskException as [forward] and [encode].
     * @throws BundleException as [encode].
     */
    @JvmOverloads
    fun generate(
        prompt: String,
        options: Options = Options(),
        cancellation: Cancellation = Cancellation(),
        onPiece: (String) -> Unit = {}
    ): Generation = turns.take("generate") {
        val sequence = asked()
        val ids = ids(prompt, options.chat)
        generated(ids, options, cancellation, sequence, encoder(), null, false, onPiece)
    }

    /** Generates the text after [ids]; parameters as of [Sequence.generate] and [Shown]. */
    internal fun generated(
        ids: IntArray,
        options: Options,
        cancellation: Cancellation,
        sequence: Sequence,
        tokenizer: Tokenizer,
        thoughts: Pair<String, String>?,
        reuse: Boolean,
        onPiece: (String) -> Unit
    ): Generation {
        val text = tokenizer.stream()
        val shown = Shown(thoughts, options.stop)
        val stopped = { shown.isStopped }
        return sequence.generate(ids, options, ended(cancellation), reuse, stopped) { token ->
            val piece =
                if (token == null) shown.finish(text.finish()) else shown.push(text.push(token))
            if (piece.isNotEmpty()) onPiece(piece)
            piece
        }
    }

    /**
     * Begins a conversation.
     *
     * @param system the system prompt; null for the chat template's own, if it has one.
     * @param messages messages and answers so far, alternately, as of [Chat.messages].
     * @param full what to do when the conversation is longer than the context.
     * @throws TaskException the model is not a causal LM, no task is current, the bundle has no
     *   tokenizer, its chat template writes conversations of another form or takes no system prompt,
     *   or a message is empty or of another role.
     * @throws BundleException this library cannot read its tokenizer.
     */
    @JvmOverloads
    fun chat(
        system: String? = null,
        messages: List<ChatMessage> = listOf(),
        full: Full = Full.REFUSE
    ): Chat = chatting("chat") { model, _, _ ->
        val template = template(model)
        val between = template.conversation ?: throw TaskException(
            "the chat template of ${bundle.directory} writes conversations of another form than " +
                "texts around those of turns; generate answers to single messages with chat"
        )
        Chat(this, template, between, system, messages, full)
    }

    /** Runs a call of a [Chat] in its turn. */
    internal fun <T> chatting(
        name: String,
        body: (Model.CausalLm, Sequence, Tokenizer) -> T
    ): T = turns.take(name) {
        val sequence = asked()
        body(manifest.model as Model.CausalLm, sequence, encoder())
    }

    /**
     * Continues the token ids of a prompt as [generate] does, without the bundle's tokenizer.
     *
     * @param ids the whole prompt; [Options.chat] has no effect.
     * @param onToken receives the answer's ids one by one, on this thread; as `onPiece`.
     * @return the answer with its timings; its text is empty.
     * @throws TaskException as [forward].
     */
    @JvmOverloads
    fun generateIds(
        ids: IntArray,
        options: Options = Options(),
        cancellation: Cancellation = Cancellation(),
        onToken: (Int) -> Unit = {}
    ): Generation = turns.take("generateIds") {
        asked().generate(ids, options, ended(cancellation)) { token ->
            token?.let(onToken)
            ""
        }
    }

    /**
     * Runs an encoder on a text, whole.
     *
     * @return its embedding, the logits of the task's classes, or those of every token.
     * @throws TaskException the model is no encoder, no task is current, or the text is too long.
     * @throws BundleException as [encode].
     */
    fun run(text: String): Output = turns.take("run") {
        val model = encoding()
        oneShot.run(ids(text, chat = false), model, classes)
    }

    /** The same for token ids, among them those that the tokenizer adds to every text. */
    fun run(ids: IntArray): Output = turns.take("run") { oneShot.run(ids, encoding(), classes) }

    private fun encoding() =
        asked<Model.Encoder>(Model.Encoder.KIND, "pass a Picture, or call generate")

    /**
     * Runs an image model on a picture of any size, which is resized and normalised as the base's
     * image preprocessor does.
     *
     * @return its features, or the logits of the task's classes.
     * @throws TaskException the model is no image model, no task is current, the bundle does not
     *   say how pictures become pixel values, or an edge has more than 16384 pixels, resized or
     *   not.
     */
    fun run(picture: Picture): Output = turns.take("run") {
        val model = viewing()
        oneShot.run(PixelValues(model).of(picture), model, classes)
    }

    /** The same for normalised pixel values, `[C, H, W]`, row by row and channel by channel. */
    fun run(pixels: FloatArray): Output = turns.take("run") {
        oneShot.run(pixels, viewing(), classes)
    }

    private fun viewing() = asked<Model.Image>(Model.Image.KIND, "pass a text, or call generate")

    private val classes get() = task?.let { manifest.classes[it] }

    private fun ended(cancellation: Cancellation) =
        { cancellation.isCancelled || turns.isClosing }

    /**
     * Token ids of [text].
     *
     * @param chat whether it is one user turn of the base's chat template.
     * @throws TaskException the bundle has no tokenizer or no chat template, or half of a surrogate
     *   pair stands alone in the text.
     * @throws BundleException this library cannot read its tokenizer.
     */
    @JvmOverloads
    fun encode(text: String, chat: Boolean = false): IntArray = turns.take("encode") {
        ids(text, chat)
    }

    private fun ids(text: String, chat: Boolean): IntArray {
        val before = (manifest.model as? Model.Encoder)?.prompt.orEmpty()
        if (!chat) return encoder().encode(before + text)
        val pieces = template(manifest.model as? Model.CausalLm).pieces(listOf(text))
        Tokenizer.checkText(text) // before its place moves
        return encoder().encodeTurns(pieces)
    }

    private fun template(model: Model.CausalLm?): ChatTemplate =
        model?.chat ?: throw TaskException(
            "${bundle.directory} has no chat template, as its base model's tokenizer has none " +
                "that is a prefix and a suffix of one message; pass the whole prompt without chat"
        )

    /**
     * Text of token ids, without special tokens; empty if the bundle has no tokenizer.
     *
     * @throws BundleException this library cannot read its tokenizer.
     */
    fun decode(ids: IntArray): String = turns.take("decode") {
        if (tokenizer == null) "" else encoder().decode(ids)
    }

    /**
     * Ends the session and frees the program; closing it again has no effect.
     *
     * It does not wait: while another thread's call runs, a generation stops after its current
     * token, and the program is freed by that thread at the end of the call.
     */
    override fun close() = turns.close()

    private fun encoder(): Tokenizer {
        val read = tokenizer ?: throw TaskException(
            "${bundle.directory} has no tokenizer; pass token ids to generateIds or forward"
        )
        return read.getOrElse { throw BundleException("${it.message}", it) }
    }

    /** The sequence of a causal LM that has a current task. */
    private fun asked(): Sequence {
        asked<Model.CausalLm>(Model.CausalLm.KIND, "call run")
        return sequence!!
    }

    /** The base model, of a kind, where a task is current. */
    private inline fun <reified M : Model> asked(kind: String, step: String): M {
        val model = manifest.model as? M ?: throw TaskException(
            "the base model of ${bundle.directory} is of kind ${manifest.model.kind}, expected " +
                "$kind; $step"
        )
        if (current == null) {
            throw TaskException("no task is current; switch to one of: ${tasks.joinToString(", ")}")
        }
        return model
    }

    companion object {
        /** Bytes that Linux can give without swapping, by its estimate; null if it has none. */
        @JvmStatic
        fun freeMemory(): Long? = Memory.available()

        /**
         * Opens the bundle in [directory], checks every file and loads the program. While another
         * session generates, both take turns token by token.
         *
         * @param threads size of ExecuTorch's thread pool, of the process; 0 for its default.
         * @param freeMemory bytes that the program may have; null does not compare them.
         * @param tokenizer the app's own; null for the bundle's.
         * @throws BundleException as [TaskBundle.open], or ExecuTorch refuses the program.
         * @throws MemoryException the program is larger than [freeMemory].
         */
        @JvmStatic
        @JvmOverloads
        fun open(
            directory: File,
            threads: Int = 0,
            freeMemory: Long? = freeMemory(),
            tokenizer: Tokenizer? = null
        ): TaskSession = open(TaskBundle.open(directory), threads, freeMemory, tokenizer)

        /** Loads the program of an opened [bundle]; parameters and errors as above. */
        @JvmStatic
        @JvmOverloads
        fun open(
            bundle: TaskBundle,
            threads: Int = 0,
            freeMemory: Long? = freeMemory(),
            tokenizer: Tokenizer? = null
        ): TaskSession {
            if (bundle.manifest.swap is Swap.Data) {
                throw BundleException(
                    "${bundle.directory} swaps .ptd files, which this library cannot load with a " +
                        "program; export with --swap inputs"
                )
            }
            Memory.check(bundle.program, freeMemory)
            // who passes ids needs none
            val texts = tokenizer?.let { Result.success(it) }
                ?: bundle.tokenizer?.let { runCatching { Tokenizer.read(it) } }
            val program = Program.load(bundle, threads)
            try {
                val loader = TaskLoader(bundle, program).apply { open() }
                return TaskSession(bundle, program, loader, texts)
            } catch (error: Throwable) {
                program.close()
                throw error
            }
        }
    }
}
