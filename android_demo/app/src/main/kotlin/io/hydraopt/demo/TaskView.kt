package io.hydraopt.demo

import android.app.Activity
import android.view.View
import android.view.ViewGroup
import android.widget.CheckBox
import android.widget.EditText
import android.widget.SeekBar
import android.widget.TextView
import kotlin.math.roundToInt

/** The current tasks with their weights, and the settings of a conversation: `task.xml`. */
class TaskView(private val activity: Activity, private val presenter: Presenter) {
    private val task: TextView = activity.find(R.id.task)
    private val weights: ViewGroup = activity.find(R.id.weights)
    private val mixing: TextView = activity.find(R.id.mixing)
    private val add: View = activity.find(R.id.add)
    private val chat: CheckBox = activity.find(R.id.chat)
    private val systemPart: View = activity.find(R.id.system_part)
    private val system: EditText = activity.find(R.id.system)

    init {
        task.setOnClickListener { presenter.choose(Picker.TASKS) }
        add.setOnClickListener { presenter.choose(Picker.OTHERS) }
        chat.setOnCheckedChangeListener { _, checked -> presenter.chat(checked) }
        system.onText(presenter::system)
    }

    /** Shows a state. */
    fun render(state: State) {
        task.put(named(state.weights))
        task.contentDescription = activity.getString(R.string.task_description, task.text)
        task.isEnabled = state.bundle != null && state.isOpen
        val weighed = state.weights.orEmpty().takeIf { state.bundle?.hasWeights == true }.orEmpty()
        weights.fill(weighed.entries.toList(), R.layout.weight) { (name, weight) ->
            renderWeight(this, name, weight, weighed.size > 1)
        }
        mixing.show(reason(state.bundle)?.let(activity::getString))
        add.isVisible = state.canMix
        val takes = state.bundle?.takes
        chat.isVisible = takes == Takes.MESSAGES || takes == Takes.CONVERSATIONS
        chat.setText(if (takes == Takes.MESSAGES) R.string.chat else R.string.conversation)
        chat.isChecked = state.chat
        chat.isEnabled = state.work != Work.ANSWERING // which shows its text as it began
        systemPart.isVisible = state.form == Form.CONVERSATION && state.bundle!!.takesSystem
        system.put(state.talk.system)
    }

    private fun named(weights: Map<String, Float>?): String = when {
        weights == null -> activity.getString(R.string.task_none)
        weights.isEmpty() -> activity.getString(R.string.base)
        else -> weights.keys.joinToString(" + ")
    }

    private fun reason(bundle: OpenBundle?): Int? = when (bundle?.mixing) {
        Mixing.OWN_ROWS -> R.string.own_rows
        Mixing.OWN_HEADS -> R.string.own_heads
        Mixing.OWN_PROGRAMS -> R.string.own_programs
        Mixing.ALLOWED, null -> null
    }.takeIf { bundle != null && bundle.tasks.size > 1 }

    private fun renderWeight(row: View, task: String, weight: Float, isMixture: Boolean) {
        val words = activity.getString(R.string.weight_of, task, weight)
        val name = if (isMixture) words else activity.getString(R.string.weight, weight)
        row.findViewById<TextView>(R.id.weight_name)!!.put(name)
        val bar = row.findViewById<SeekBar>(R.id.weight)!!
        bar.setOnSeekBarChangeListener(null) // of another task, perhaps
        bar.progress = (weight / STEP).roundToInt()
        bar.contentDescription = words
        bar.setOnSeekBarChangeListener(object : SeekBar.OnSeekBarChangeListener {
            override fun onProgressChanged(bar: SeekBar?, progress: Int, fromUser: Boolean) {
                if (fromUser) presenter.weigh(task, progress * STEP)
            }

            override fun onStartTrackingTouch(bar: SeekBar?) = Unit

            override fun onStopTrackingTouch(bar: SeekBar?) = Unit
        })
        val remove = row.findViewById<View>(R.id.remove)!!
        remove.isVisible = isMixture
        remove.contentDescription = activity.getString(R.string.remove, task)
        remove.setOnClickListener { presenter.remove(task) }
    }

    private companion object {
        const val STEP = 0.05f // of weights from 0 to 2
    }
}
