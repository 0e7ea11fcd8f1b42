package io.hydraopt.demo

import android.app.Activity
import android.app.AlertDialog
import android.view.View
import android.view.ViewGroup
import android.widget.BaseAdapter
import android.widget.EditText
import android.widget.ListView
import android.widget.TextView

/** A list that covers the screen: tasks with a search field and marks, or bundles. */
class Chooser(
    private val activity: Activity,
    private val presenter: Presenter,
    val picker: Picker,
    pickDirectory: () -> Unit
) {
    private val content = activity.layoutInflater.inflate(R.layout.chooser, null)
    private val search: EditText = content.findViewById(R.id.search)!!
    private val list: ListView = content.findViewById(R.id.list)!!
    private val nothing: TextView = content.findViewById(R.id.nothing)!!
    private val rows = Rows()
    private val dialog: AlertDialog

    init {
        val isTasks = picker != Picker.BUNDLES
        search.isVisible = isTasks
        search.onText(presenter::search)
        nothing.setText(if (isTasks) R.string.no_task_found else R.string.no_bundle_found)
        list.adapter = rows
        list.emptyView = nothing
        list.setOnItemClickListener { _, _, index, _ -> rows.items[index].choose() }
        val builder = AlertDialog.Builder(activity)
            .setTitle(TITLES.getValue(picker))
            .setView(content)
            .setNegativeButton(android.R.string.cancel) { _, _ -> presenter.choose(null) }
            .setOnCancelListener { presenter.choose(null) }
        if (!isTasks) builder.setPositiveButton(R.string.pick) { _, _ -> pickDirectory() }
        dialog = builder.show()
    }

    /** Shows the choices. */
    fun render(state: State) {
        search.put(state.query)
        val isFirst = rows.isEmpty
        rows.show(items(state))
        val current = rows.items.indexOfFirst { it.isCurrent }
        if (isFirst && current >= 0) list.setSelection(current) // scrolls to it
    }

    private fun items(state: State) = when (picker) {
        Picker.TASKS -> listOfNotNull(base(state)) + state.found.map {
            Item(it, null, it in state.weights.orEmpty()) { presenter.pick(it) }
        }
        Picker.OTHERS -> state.found.map { Item(it, null, isCurrent = false) { presenter.add(it) } }
        Picker.BUNDLES -> state.places.map {
            Item(it.name, origin(it), isCurrent = false) { presenter.open(it) }
        }
    }

    private fun base(state: State): Item? {
        val name = activity.getString(R.string.base)
        if (state.bundle?.hasBase != true || !state.isFound(name)) return null
        return Item(name, null, state.weights?.isEmpty() == true, presenter::pickBase)
    }

    private fun origin(place: Place): String = activity.getString(
        when {
            place is Foreign -> R.string.brought
            place is Stored && place.pushed -> R.string.pushed
            else -> R.string.copied
        }
    )

    fun close() = dialog.dismiss()

    private class Item(
        val name: String,
        val details: String?,
        val isCurrent: Boolean,
        val choose: () -> Unit
    )

    private inner class Rows : BaseAdapter() {
        var items = listOf<Item>()
            private set

        fun show(items: List<Item>) {
            this.items = items
            notifyDataSetChanged()
        }

        override fun getCount() = items.size

        override fun getItem(position: Int) = items[position]

        override fun getItemId(position: Int) = position.toLong()

        override fun getView(position: Int, convertView: View?, parent: ViewGroup): View {
            val row = convertView ?: activity.layoutInflater.inflate(R.layout.row, parent, false)!!
            val item = items[position]
            row.findViewById<TextView>(R.id.details)!!.show(item.details)
            row.findViewById<TextView>(R.id.name)!!.apply {
                text = item.name
                contentDescription =
                    if (item.isCurrent) activity.getString(R.string.current, item.name) else null
                val mark = if (item.isCurrent) R.drawable.ic_check else 0
                setCompoundDrawablesRelativeWithIntrinsicBounds(0, 0, mark, 0)
            }
            return row
        }
    }

    private companion object {
        val TITLES = mapOf(
            Picker.TASKS to R.string.choose_task,
            Picker.OTHERS to R.string.add,
            Picker.BUNDLES to R.string.choose_bundle
        )
    }
}
