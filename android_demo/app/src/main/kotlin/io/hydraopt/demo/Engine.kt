package io.hydraopt.demo

import io.hydraopt.Chat
import io.hydraopt.ContextFullException
import io.hydraopt.Generation
import io.hydraopt.MemoryException
import io.hydraopt.Options
import io.hydraopt.Output
import io.hydraopt.TaskBundle
import io.hydraopt.TaskException
import io.hydraopt.TaskSession
import java.io.File
import java.io.IOException

/**
 * The open session, and what jobs do with it; the session's thread alone calls it.
 *
 * @param memory bytes of the process.
 * @param freeMemory bytes that a program may have.
 */
class Engine(
    private val shelf: Shelf,
    private val memory: () -> Long,
    private val freeMemory: () -> Long?
) {
    private var session: TaskSession? = null
    private var switched = false // since the last answer
    private var tooLarge: File? = null // the bundle that was refused last
    private var embedding: FloatArray? = null // the last one

    /** Weights of the current tasks, as they were chosen; empty for the base, null for none. */
    var weights: Map<String, Float>? = null
        private set

    /** Opens a bundle instead of the current one, and goes on with what is [remembered] of it. */
    fun open(job: Jobs.Job, place: Place, remembered: Remembered?) {
        val bundle = shelf.open(place) { job.stopped }
        close() // two programs at a time might be too large
        job.show { State(Work.OPENING, places, prompt = prompt, talk = talk.renewed()) }
        val before = memory()
        val loaded = load(bundle)
        session = loaded
        val opened = OpenBundle.of(place.name, loaded)
        val figures = Figures(memoryBefore = before, memoryNow = memory())
        job.show { copy(bundle = opened, figures = figures).with(remembered) }
        val last = remembered?.weights
        if (last != null && bundle.tasks.containsAll(last.keys)) switch(job, last)
    }

    private fun State.with(remembered: Remembered?): State {
        val same = remembered?.takeIf { it.bundle == bundle?.name }
        val chat = same?.chat ?: (bundle?.takes == Takes.CONVERSATIONS)
        return copy(chat = chat, talk = (same?.talk ?: talk).copy(number = talk.number))
    }

    /** Loads a program; one that was refused for its size is loaded the next time. */
    private fun load(bundle: TaskBundle): TaskSession {
        val again = bundle.directory == tooLarge
        tooLarge = null
        try {
            return TaskSession.open(bundle, freeMemory = if (again) null else freeMemory())
        } catch (error: MemoryException) {
            tooLarge = bundle.directory
            throw error
        }
    }

    /** Makes tasks current, or without any the base. */
    fun switch(job: Jobs.Job, weights: Map<String, Float>) {
        val session = session?.takeUnless { job.stopped } ?: return // others may follow quickly
        val before = this.weights
        this.weights = null // until it worked
        val times = try {
            val isBase = weights.values.all { it == 0f }
            if (isBase) session.switchToBase() else session.switchTo(weights)
        } catch (error: TaskException) {
            this.weights = before // as the session keeps it
            throw error
        }
        this.weights = weights
        switched = true
        job.show { copy(figures = figures.after(times)) }
    }

    /** Continues a prompt. */
    fun generate(job: Jobs.Job, prompt: String, chat: Boolean) {
        val options = Options(LONGEST, chat = chat)
        val show = job.stream { copy(answer = answer + it) }
        val answer = session?.generate(prompt, options, job.cancellation, show) ?: return
        tell(job, answer)
    }

    /**
     * Answers a message.
     *
     * @param before the conversation before it.
     * @param message null to answer the last one again.
     */
    fun converse(job: Jobs.Job, before: Talk, message: String?) {
        val session = session ?: return
        var after = before
        try {
            val system = before.system.ifBlank { null }
            val chat = session.chat(system, before.messages, before.full)
            try {
                tell(job, answered(job, chat, before.number, message))
            } finally {
                after = before.after(chat)
            }
        } catch (error: ContextFullException) {
            if (before.drops || before.messages.isEmpty()) throw error
            after = before.copy(isFull = true)
        } finally {
            val isKept = message == null || after.turns.size > before.turns.size
            job.settle { ofTalk(after.number) { settled(after, if (isKept) "" else message!!) } }
        }
    }

    private fun answered(job: Jobs.Job, chat: Chat, number: Int, message: String?): Generation {
        val show = job.stream { piece -> ofTalk(number) { copy(talk = talk.hearing(piece)) } }
        return if (message == null) {
            chat.retry(OPTIONS, job.cancellation, show)
        } else {
            chat.send(message, OPTIONS, job.cancellation, show)
        }
    }

    /** A change of one conversation alone: meanwhile another one may have begun. */
    private fun State.ofTalk(number: Int, change: Change): State =
        if (talk.number == number) change() else this

    /** The conversation after an answer; a message without any can be sent again. */
    private fun State.settled(after: Talk, unsent: String): State =
        copy(talk = after.copy(system = talk.system), prompt = prompt.ifEmpty { unsent })

    private fun tell(job: Jobs.Job, answer: Generation) {
        val first = switched
        switched = false
        val now = memory()
        job.show {
            val figures = figures.after(answer, first, now)
            copy(end = answer.end, tokens = answer.ids.size, figures = figures)
        }
    }

    /** Classifies or embeds a text. */
    fun run(job: Jobs.Job, text: String) {
        val session = session ?: return
        val output = session.run(text)
        val perToken = output.shape.size == 2
        val ids = if (perToken) session.encode(text) else IntArray(0)
        val result = result(session, output, ids.map { session.decode(intArrayOf(it)) })
        job.show { copy(result = result) }
    }

    /** Reads a picture, and classifies or embeds it with the current task, if there is one. */
    fun look(job: Jobs.Job, photo: Photo) {
        val session = session ?: return
        val shot = try {
            photo.read()
        } catch (error: IOException) {
            job.show { copy(photo = null) }
            throw error
        }
        job.show { copy(preview = shot.preview) }
        if (weights == null) return
        val result = result(session, session.run(shot.picture), listOf())
        job.show { copy(result = result) }
    }

    private fun result(session: TaskSession, output: Output, tokens: List<String>): Result {
        val isClassifier = session.bundle.manifest.classes.isNotEmpty()
        if (isClassifier) return Result.ofLogits(output, tokens)
        return Result.ofEmbedding(output.values, embedding).also { embedding = output.values }
    }

    /** Frees the program. */
    fun close() {
        session?.close()
        session = null
        weights = null
        embedding = null
    }

    private companion object {
        const val LONGEST = 512 // tokens of an answer
        val OPTIONS = Options(LONGEST)
    }
}
