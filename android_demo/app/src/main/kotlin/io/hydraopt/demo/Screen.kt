package io.hydraopt.demo

import android.app.Activity
import android.text.format.Formatter
import android.view.View
import android.widget.Button
import android.widget.CheckBox
import android.widget.EditText
import android.widget.TextView
import io.hydraopt.End

/**
 * Shows states in the views of `main.xml` and forwards input to the presenter.
 *
 * @param pickDirectory opens the system's document picker.
 */
class Screen(
    private val activity: Activity,
    private val presenter: Presenter,
    private val pickDirectory: () -> Unit
) {
    private val bundle: View = find(R.id.bundle)
    private val bundleName: TextView = find(R.id.bundle_name)
    private val bundleDetails: TextView = find(R.id.bundle_details)
    private val bundleChange: TextView = find(R.id.bundle_change)
    private val task: TextView = find(R.id.task)
    private val prompt: EditText = find(R.id.prompt)
    private val chat: CheckBox = find(R.id.chat)
    private val run: Button = find(R.id.run)
    private val stop: Button = find(R.id.stop)
    private val error: TextView = find(R.id.error)
    private val answer: TextView = find(R.id.answer)
    private val status: TextView = find(R.id.status)
    private val figures = FiguresView(activity)
    private var chooser: Chooser? = null

    init {
        bundle.setOnClickListener { presenter.choose(Picker.BUNDLES) }
        task.setOnClickListener { presenter.choose(Picker.TASKS) }
        prompt.onText(presenter::type)
        chat.setOnCheckedChangeListener { _, checked -> presenter.chat(checked) }
        run.setOnClickListener { presenter.run() }
        stop.setOnClickListener { presenter.stop() }
    }

    private fun <T : View> find(id: Int): T = activity.findViewById(id)!!

    private fun text(id: Int, vararg arguments: Any?): String = activity.getString(id, *arguments)

    /** Shows a state. */
    fun render(state: State) {
        renderBundle(state)
        task.put(state.task ?: text(R.string.task_none))
        task.contentDescription = text(R.string.task_description, task.text)
        task.isEnabled = state.bundle != null && state.isOpen
        prompt.put(state.prompt)
        chat.visibility = if (state.bundle?.hasChat == true) View.VISIBLE else View.GONE
        chat.isChecked = state.chat
        run.isEnabled = state.canRun
        stop.isEnabled = state.canStop
        error.show(state.problem?.let { text(REMEDIES.getValue(it.remedy), it.name) })
        renderAnswer(state)
        figures.render(state.figures)
        renderChooser(state)
    }

    private fun renderBundle(state: State) {
        val open = state.bundle
        bundleName.put(open?.name ?: text(R.string.bundle_none))
        bundleDetails.put(details(state))
        bundleChange.put(text(if (open == null) R.string.choose else R.string.change))
        bundle.contentDescription = text(
            R.string.bundle_description,
            bundleName.text,
            bundleDetails.text,
            bundleChange.text
        )
        bundle.isEnabled = state.isOpen
    }

    private fun details(state: State): String = when {
        state.work == Work.COPYING -> text(R.string.copying)
        state.work == Work.OPENING -> text(R.string.opening)
        state.bundle == null -> text(R.string.bundle_hint)
        else -> {
            val size = Formatter.formatShortFileSize(activity, state.bundle.bytes)
            val count = state.bundle.tasks.size
            activity.resources.getQuantityString(R.plurals.details, count, count, size)
        }
    }

    private fun renderAnswer(state: State) {
        val words = status(state)
        answer.put(state.answer.ifEmpty { text(R.string.answer_none) })
        answer.isEnabled = state.answer.isNotEmpty()
        if (status.text.toString() == words) return
        status.text = words // read aloud when it changes, with the answer at its end
        status.contentDescription =
            if (state.end == null) words else text(R.string.answered_aloud, state.answer, words)
    }

    private fun status(state: State): String = when {
        state.work == Work.ANSWERING -> text(R.string.answering)
        state.work == Work.SWITCHING -> text(R.string.switching)
        state.end == null && state.task != null -> text(R.string.ready)
        state.end == null -> text(R.string.idle)
        else -> {
            val why = text(ENDS.getValue(state.end))
            val count = state.tokens
            activity.resources.getQuantityString(R.plurals.answered, count, count, why)
        }
    }

    private fun renderChooser(state: State) {
        if (chooser?.picker != state.picker) {
            chooser?.close()
            chooser = state.picker?.let { Chooser(activity, presenter, it, pickDirectory) }
        }
        chooser?.render(state)
    }

    /** Dismisses lists; the state keeps them for the next screen. */
    fun close() {
        chooser?.close()
        chooser = null
    }

    private companion object {
        val ENDS = mapOf(
            End.END_TOKEN to R.string.end_token,
            End.MAX_NEW_TOKENS to R.string.end_longest,
            End.CONTEXT to R.string.end_context,
            End.STOP to R.string.end_token,
            End.CANCELLED to R.string.end_stopped
        )
        val REMEDIES = mapOf(
            Remedy.OTHER_BUNDLE to R.string.other_bundle,
            Remedy.PICK_AGAIN to R.string.pick_again,
            Remedy.OTHER_TASK to R.string.other_task,
            Remedy.OTHER_PROMPT to R.string.other_prompt,
            Remedy.OPEN_ALL_THE_SAME to R.string.open_all_the_same,
            Remedy.SMALLER_BUNDLE to R.string.smaller_bundle,
            Remedy.FREE_SPACE to R.string.free_space,
            Remedy.OTHER_WAY to R.string.no_picker,
            Remedy.TRY_AGAIN to R.string.try_again
        )
    }
}
