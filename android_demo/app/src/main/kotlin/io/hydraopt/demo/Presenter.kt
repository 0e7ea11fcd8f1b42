package io.hydraopt.demo

import io.hydraopt.TaskSession

/** State that survives the process. */
data class Remembered(
    val bundle: String?,
    val weights: Map<String, Float>?,
    val prompt: String,
    val chat: Boolean,
    val talk: Talk
)

/**
 * Handles the screen's events and updates its state.
 *
 * All calls come from the main thread. The session has its own thread, which runs one
 * [job][Jobs.Job] at a time; jobs update the state through [post].
 *
 * @param post runs a function on the main thread later.
 * @param memory bytes of the process.
 * @param freeMemory bytes that a program may have.
 * @param log takes every error, with all that the library tells.
 */
class Presenter(
    private val shelf: Shelf,
    private val post: (() -> Unit) -> Unit,
    memory: () -> Long = ProcessMemory::pss,
    freeMemory: () -> Long? = TaskSession::freeMemory,
    log: (Throwable) -> Unit = {}
) {
    private val engine = Engine(shelf, memory, freeMemory)
    private val jobs = Jobs(post, log, ::show, ::ended)
    private var waiting: Photo? = null // for a bundle that opens

    /** The current state. */
    var state = State()
        private set

    /** Receives states, the current one immediately; null while there is no screen. */
    var view: ((State) -> Unit)? = null
        set(value) {
            field = value
            value?.invoke(state)
        }

    private fun show(change: Change) {
        state = state.change()
        view?.invoke(state)
    }

    private fun ended(): Change {
        val weights = engine.weights
        return { copy(weights = weights) }
    }

    private fun work(work: Work, name: String, change: Change, body: Jobs.Job.() -> Unit) {
        show { change().copy(work = work, problem = null) }
        jobs.start(name, work, body)
    }

    /** Finds bundles and opens the one of [remembered], or the only one. */
    fun start(remembered: Remembered? = null) {
        if (remembered != null) show { copy(prompt = remembered.prompt) }
        jobs.execute {
            shelf.tidy()
            list { places ->
                val place = places.find { it.name == remembered?.bundle } ?: places.singleOrNull()
                if (place != null) open(place, remembered)
            }
        }
    }

    private fun list(then: (List<Place>) -> Unit = {}) {
        val places = shelf.places()
        post {
            show { copy(places = places) }
            then(places)
        }
    }

    /** The state that [start] restores. */
    fun remembered(): Remembered =
        state.run { Remembered(bundle?.name, weights, prompt, chat, talk) }

    /** Opens a bundle instead of the current one, and goes on with what is [remembered] of it. */
    fun open(place: Place, remembered: Remembered? = null) {
        if (!state.isOpen) return
        val work = if (place is Foreign) Work.COPYING else Work.OPENING
        work(work, place.name, { copy(picker = null) }) {
            engine.open(this, place, remembered)
            list()
        }
        jobs.execute { post { waiting?.let(::look) } }
    }

    /** Switches to a task. */
    fun pick(task: String) = mix(mapOf(task to 1f))

    /** Switches to the base, without an adapter. */
    fun pickBase() = mix(mapOf())

    /** Mixes another task with the current ones. */
    fun add(task: String) = mix(state.weights.orEmpty() + (task to 1f))

    /** Takes a task out of a mixture. */
    fun remove(task: String) = mix(state.weights.orEmpty() - task)

    /** Gives a task of the mixture another weight. */
    fun weigh(task: String, weight: Float) {
        if (weight == 0f && state.bundle?.hasBase != true) return show { this } // as it was
        mix(state.weights.orEmpty() + (task to weight))
    }

    /** Switches to a weighted sum of tasks; without any, to the base. */
    fun mix(weights: Map<String, Float>) {
        if (!state.isOpen || weights == state.weights && state.picker == null) return
        val change: Change = {
            copy(picker = null, weights = weights, answer = "", result = null, end = null)
        }
        val work = if (weights.size > 1) Work.MIXING else Work.SWITCHING
        work(work, weights.keys.joinToString(), change) { engine.switch(this, weights) }
    }

    /** Gives the model what there is: a prompt, a message, a text or a picture. */
    fun run() {
        if (!state.canRun) return
        val prompt = state.prompt
        when (state.form) {
            Form.PROMPT -> {
                val chat = state.chat
                answer({ copy(answer = "") }) { engine.generate(this, prompt, chat) }
            }
            Form.CONVERSATION -> converse(prompt)
            Form.TEXT -> answer({ copy(result = null) }) { engine.run(this, prompt) }
            Form.PICTURE -> state.photo?.let(::look)
        }
    }

    private fun answer(change: Change, body: Jobs.Job.() -> Unit) =
        work(Work.ANSWERING, state.bundle?.name.orEmpty(), { change().copy(end = null) }, body)

    /** Answers the last message again. */
    fun retry() {
        if (state.canRetry) converse(null)
    }

    private fun converse(message: String?) {
        val before = state.talk.copy(isFull = false)
        val draft = if (message == null) state.prompt else ""
        answer({ copy(talk = before.asking(message), prompt = draft) }) {
            engine.converse(this, before, message)
        }
    }

    /** Sends the message for which the context was full, without the oldest turns. */
    fun goOn() {
        if (!state.talk.isFull || !state.canRun) return
        show { copy(talk = talk.copy(drops = true)) }
        run()
    }

    /** Begins another conversation, which ends an answer. */
    fun renew() {
        if (!state.isOpen) return
        work(Work.NONE, "", { copy(talk = talk.renewed(), end = null) }) {}
    }

    /** The system prompt was changed. */
    fun system(text: String) {
        if (text != state.talk.system) show { copy(talk = talk.copy(system = text)) }
    }

    /** Shows a picture, and what the model makes of it. */
    fun look(photo: Photo) {
        val isWaiting = state.bundle == null || !state.isOpen
        waiting = photo.takeIf { isWaiting }
        if (isWaiting) return
        val change: Change = { copy(photo = photo, preview = null, result = null, end = null) }
        work(Work.LOOKING, state.bundle?.name.orEmpty(), change) { engine.look(this, photo) }
    }

    /** Stops the running answer or copy; the partial answer stays. */
    fun stop() = jobs.stop()

    /** The prompt's text was changed. */
    fun type(prompt: String) {
        if (prompt != state.prompt) show { copy(prompt = prompt) }
    }

    /** Whether the prompt is written in the model's chat format. */
    fun chat(chat: Boolean) {
        if (chat != state.chat) show { copy(chat = chat, end = null) }
    }

    /** Shows or hides a list over the screen. */
    fun choose(picker: Picker?) {
        show { copy(picker = picker, query = "") }
        if (picker == Picker.BUNDLES) jobs.execute { list() }
    }

    /** Searches tasks. */
    fun search(query: String) {
        if (query != state.query) show { copy(query = query) }
    }

    /** Reports an error outside of the session. */
    fun fail(problem: Problem) = show { copy(problem = problem) }

    /** Stops everything; the session's thread frees the program. */
    fun close() {
        view = null
        jobs.close { engine.close() }
    }
}
