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
    private val current: Current,
    private val texts: Texts
) : Closeable {
    private val turns = Turns(program::close)

    /** Names of the tasks. */
    val tasks: List<String> get() = bundle.tasks

    /** The current task; null for a mixture, for the base and before the first switch. */
    val task: String? get() = current.mixture?.task

    /** Weights of the current tasks by name; empty for the base. */
    val mixture: Map<String, Float> get() = current.mixture.orEmpty()

    /** Number of tokens in the KV cache. */
    val position: Int get() = current.position

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
        turns.take("switchTo") { current.switch(mixtureOf(weights, tasks), keepCache) }

    /** Switches to the base without an adapter, as [switchTo] does to a task. */
    @JvmOverloads
    fun switchToBase(keepCache: Boolean = false): SwitchTimes =
        turns.take("switchToBase") { current.switch(mapOf(), keepCache) }

    /** Starts a new sequence: the next token goes to position 0. */
    fun reset() = turns.take("reset") { current.rewind(0) }

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
        current.rewind(position)
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
        current.sequence().append(ids, turns::isClosing) ?: throw turns.closed("forward")
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
        val sequence = current.sequence()
        val ids = texts.encode(prompt, options.chat)
        generated(ids, options, cancellation, sequence, texts.tokenizer(), null, false, onPiece)
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
    ): Chat = chatting("chat") { _, _, _ ->
        Chat(this, texts.template(), texts.conversation(), system, messages, full)
    }

    /** Runs a call of a [Chat] in its turn. */
    internal fun <T> chatting(
        name: String,
        body: (Model.CausalLm, Sequence, Tokenizer) -> T
    ): T = turns.take(name) {
        val sequence = current.sequence()
        body(bundle.manifest.model as Model.CausalLm, sequence, texts.tokenizer())
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
        current.sequence().generate(ids, options, ended(cancellation)) { token ->
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
        current.encode { texts.encode(text, chat = false) }
    }

    /** The same for token ids, among them those that the tokenizer adds to every text. */
    fun run(ids: IntArray): Output = turns.take("run") { current.encode { ids } }

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
        current.view { PixelValues(it).of(picture) }
    }

    /** The same for normalised pixel values, `[C, H, W]`, row by row and channel by channel. */
    fun run(pixels: FloatArray): Output = turns.take("run") { current.view { pixels } }

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
        texts.encode(text, chat)
    }

    /**
     * Text of token ids, without special tokens; empty if the bundle has no tokenizer.
     *
     * @throws BundleException this library cannot read its tokenizer.
     */
    fun decode(ids: IntArray): String = turns.take("decode") { texts.decode(ids) }

    /**
     * Ends the session and frees the program; closing it again has no effect.
     *
     * It does not wait: while another thread's call runs, a generation stops after its current
     * token, and the program is freed by that thread at the end of the call.
     */
    override fun close() = turns.close()

    /** Opens sessions. */
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
            val texts = Texts.of(bundle, tokenizer)
            val program = Program.load(bundle, threads, freeMemory)
            try {
                val loader = TaskLoader(bundle, program).apply { open() }
                return TaskSession(bundle, program, Current(bundle, program, loader), texts)
            } catch (error: Throwable) {
                program.close()
                throw error
            }
        }
    }
}
