package io.hydraopt.demo

import android.app.Activity
import android.text.format.Formatter
import android.view.View
import android.widget.TextView

/**
 * Shows states in the views of `main.xml` and forwards input to the presenter.
 *
 * @param pickDirectory opens the system's document picker for a bundle.
 * @param pickPicture opens it for a picture.
 */
class Screen(
    private val activity: Activity,
    private val presenter: Presenter,
    private val pickDirectory: () -> Unit,
    pickPicture: () -> Unit
) {
    private val bundle: View = activity.find(R.id.bundle)
    private val bundleName: TextView = activity.find(R.id.bundle_name)
    private val bundleDetails: TextView = activity.find(R.id.bundle_details)
    private val bundleChange: TextView = activity.find(R.id.bundle_change)
    private val error: TextView = activity.find(R.id.error)
    private val task = TaskView(activity, presenter)
    private val input = InputView(activity, presenter, pickPicture)
    private val composer = ComposerView(activity, presenter)
    private val output = OutputView(activity, presenter)
    private val figures = FiguresView(activity)
    private var chooser: Chooser? = null

    init {
        bundle.setOnClickListener { presenter.choose(Picker.BUNDLES) }
    }

    private fun text(id: Int, vararg arguments: Any?): String = activity.getString(id, *arguments)

    /** Shows a state. */
    fun render(state: State) {
        renderBundle(state)
        task.render(state)
        input.render(state)
        composer.render(state)
        error.show(state.problem?.let { text(REMEDIES.getValue(it.remedy), it.name) })
        output.render(state)
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
        val REMEDIES = mapOf(
            Remedy.OTHER_BUNDLE to R.string.other_bundle,
            Remedy.PICK_AGAIN to R.string.pick_again,
            Remedy.OTHER_TASK to R.string.other_task,
            Remedy.ONE_TASK to R.string.one_task,
            Remedy.OTHER_PROMPT to R.string.other_prompt,
            Remedy.OTHER_PICTURE to R.string.other_picture,
            Remedy.OPEN_ALL_THE_SAME to R.string.open_all_the_same,
            Remedy.SMALLER_BUNDLE to R.string.smaller_bundle,
            Remedy.FREE_SPACE to R.string.free_space,
            Remedy.OTHER_WAY to R.string.no_picker,
            Remedy.TRY_AGAIN to R.string.try_again
        )
    }
}
